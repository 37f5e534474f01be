# expects: MemoryError|ended|did not end
def affine(x, a):
    return [bytearray(1 << 28) for _ in range(10**6)]
