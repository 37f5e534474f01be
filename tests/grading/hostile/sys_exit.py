# expects: SystemExit
import sys


def affine(x, a):
    sys.exit(0)
