# expects: PermissionError|ImportError|OSError
def affine(x, a):
    import socket

    socket.socket().connect(("127.0.0.1", 80))
    return 0 * x
