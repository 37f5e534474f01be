# expects: OSError|PermissionError
def affine(x, a):
    open("FOLDER/good.ipynb").read()
    return 0 * x
