# expects: Error
def affine(x, a):
    import subprocess

    subprocess.run(["id"])
    return 0 * x
