# expects: process ended
import ctypes


def affine(x, a):
    ctypes.string_at(0)
