# expects: process ended
import os


def affine(x, a):
    os._exit(0)
