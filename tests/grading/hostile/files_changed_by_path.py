# expects: FileNotFoundError|PermissionError
import os


def affine(x, a):
    os.truncate("FOLDER/good.ipynb", 0)
    os.rename("FOLDER/good.ipynb", "FOLDER/bad.ipynb")
    return 0 * x
