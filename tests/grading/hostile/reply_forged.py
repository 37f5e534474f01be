# expects: could not be read|ended
import os


def affine(x, a):
    for fd in range(3, 64):
        try:
            os.write(fd, b"right" * 100)
        except OSError:
            pass
    return 0 * x
