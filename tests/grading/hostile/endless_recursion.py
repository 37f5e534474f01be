# expects: RecursionError
def affine(x, a):
    return affine(x, a)
