# expects: could not be read|did not end
import os, struct


def affine(x, a):
    for fd in range(3, 64):
        try:
            os.write(fd, struct.pack("<QQ", 50, 1 << 40))
        except OSError:
            pass
    return 0 * x
