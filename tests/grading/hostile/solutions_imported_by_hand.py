# expects: Error
def affine(x, a):
    import importlib, sys

    sys.meta_path.clear()
    import _frozen_importlib_external as e

    sys.meta_path.append(e.PathFinder)
    return importlib.import_module("dlgm.exercises").find("affine").reference(x, a)
