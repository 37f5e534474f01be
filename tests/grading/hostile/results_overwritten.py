# expects: OSError|PermissionError
def affine(x, a):
    open("FOLDER/../out/marks.csv", "w").write("100")
    return 0 * x
