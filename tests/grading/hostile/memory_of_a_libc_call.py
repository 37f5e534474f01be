# expects: OSError|PermissionError
import ctypes


def affine(x, a):
    ctypes.CDLL(None).setrlimit(7, (ctypes.c_ulong * 2)(1024, 1024))
    open("/etc/passwd")
    return 0 * x
