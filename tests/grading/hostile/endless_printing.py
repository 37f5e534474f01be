# expects: value of y
def affine(x, a):
    for i in range(10**5):
        print("x" * 1000)
    return 0 * x
