"""``python -m dlgm.exercises [LESSON or EXERCISE ...]``: the known mistakes, each with how its code is received."""

import sys

from . import find, modules, of
from .engine import run


def main(names):
    """Print the tables; returns how many mistakes are accepted, or taken for another."""
    try:
        chosen = {name: of(name) if name in modules() else [find(name)] for name in names or modules()}
    except ValueError as error:
        print(f"error: {error}; lessons and homework: {', '.join(modules())}", file=sys.stderr)
        return 2
    wrong = 0
    for title, exercises in chosen.items():
        print(f"## {title}")
        for e in exercises:
            print(f"\n`{e.name}`: {e.equation}\n\n| known mistake | rejected | named as |\n| --- | --- | --- |")
            for mistake in e.mistakes:
                report = run(e, mistake.function)
                named, rejected = report.mistake.name if report.mistake else "-", report.state == "not yet"
                wrong += not rejected or report.mistake is not mistake
                print(f"| {mistake.name} | {'yes' if rejected else 'NO'} | {named} |")
            print(f"\nreference: {run(e, e.reference).state}\n")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
