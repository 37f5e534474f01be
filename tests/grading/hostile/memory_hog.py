# expects: MemoryError|ended
def affine(x, a):
    return [bytearray(1 << 28) for _ in range(10**6)]
