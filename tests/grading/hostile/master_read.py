# expects: OSError|PermissionError
def affine(x, a):
    open("FOLDER/../source/toy.ipynb").read()
    return 0 * x
