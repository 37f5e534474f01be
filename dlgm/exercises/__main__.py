"""``python -m dlgm.exercises [MODULE ...]``: the table of known mistakes, each with how its code is received."""

import sys

from . import modules, of
from .engine import run

for module in sys.argv[1:] or modules():
    print(f"## {module}")
    for exercise in of(module):
        print(
            f"\n`{exercise.name}`: {exercise.equation}\n\n| known mistake | rejected | named as |\n| --- | --- | --- |"
        )
        for mistake in exercise.mistakes:
            report = run(exercise, mistake.function)
            named = report.mistake.name if report.mistake else "-"
            print(f"| {mistake.name} | {'yes' if report.state == 'not yet' else 'NO'} | {named} |")
        print(f"\nreference: {run(exercise, exercise.reference).state}\n")
