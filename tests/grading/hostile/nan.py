# expects: value of y
def affine(x, a):
    return x * float("nan")
