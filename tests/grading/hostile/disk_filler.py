# expects: OSError|PermissionError
def affine(x, a):
    with open("/tmp/dlgm_filled", "wb") as f:
        while True:
            f.write(bytes(1 << 20))
