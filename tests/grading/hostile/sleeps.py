# expects: did not end
import time


def affine(x, a):
    time.sleep(1000)
