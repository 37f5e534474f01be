# expects: KeyError: .*\{\}None
import os


def affine(x, a):
    raise KeyError(str(dict(os.environ)) + str(os.getenv("DLGM_SALT")))
