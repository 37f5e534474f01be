# expects: ImportError
def affine(x, a):
    from dlgm.exercises import find

    return find("affine").reference(x, a)
