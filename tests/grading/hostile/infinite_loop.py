# expects: did not end|processor time
def affine(x, a):
    while True:
        pass
