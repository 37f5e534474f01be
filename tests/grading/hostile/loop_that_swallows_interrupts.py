# expects: did not end|processor time|ended
import signal

for s in (signal.SIGXCPU, signal.SIGTERM, signal.SIGINT):
    signal.signal(s, lambda *a: None)


def affine(x, a):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
