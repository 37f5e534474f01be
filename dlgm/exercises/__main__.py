"""``python -m dlgm.exercises``: the table of known mistakes, each with how its code is received."""

from . import HOMEWORK, LESSONS
from .engine import run

for lesson, exercises in (LESSONS | HOMEWORK).items():
    print(f"## {lesson}")
    for exercise in exercises:
        print(
            f"\n`{exercise.name}`: {exercise.equation}\n\n| known mistake | rejected | named as |\n| --- | --- | --- |"
        )
        for mistake in exercise.mistakes:
            report = run(exercise, mistake.function)
            named = report.mistake.name if report.mistake else "-"
            print(f"| {mistake.name} | {'yes' if report.state == 'not yet' else 'NO'} | {named} |")
        print(f"\nreference: {run(exercise, exercise.reference).state}\n")
