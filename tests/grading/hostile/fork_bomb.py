# expects: PermissionError|fork
import os


def affine(x, a):
    while True:
        os.fork()
