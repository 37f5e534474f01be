"""python -m dlgm.grading release | check | grade | export: see --help of each."""

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

from . import batch, export, grade, release, submission
from .assignment import guess, load, masters
from .sandbox import Zygote


def parser():
    """The commands and their arguments."""
    out = argparse.ArgumentParser(
        prog="python -m dlgm.grading", description="Homework: release it, check it, grade it."
    )
    commands = out.add_subparsers(dest="command", required=True)
    known = f"{', '.join(masters()) or 'none yet'}, or the path of a master notebook"
    a = commands.add_parser("release", help="write the student version of an assignment")
    a.add_argument("assignment", nargs="*", default=masters(), help=f"{known} (default: all)")
    a.add_argument("--to", type=Path, help="another file or folder than notebooks/homework")
    a.add_argument("--compare", action="store_true", help="write nothing; fail if the file that is there differs")
    a = commands.add_parser("check", help="what a student sees before handing in")
    a.add_argument("notebook", type=Path, help="your notebook")
    a.add_argument("--assignment", help=f"{known} (default: the one the notebook was made from)")
    a = commands.add_parser("grade", help="grade a folder of submissions")
    a.add_argument("folder", type=Path, help="FOLDER/STUDENT.ipynb or FOLDER/STUDENT/ANY.ipynb")
    a.add_argument("--assignment", required=True, help=known)
    a.add_argument("--out", type=Path, required=True, help="folder for marks, results and feedback")
    a.add_argument("--jobs", type=int, default=1, help="submissions graded at once (%(default)s)")
    a.add_argument("--due", help="2026-12-01T18:00; later ones are marked as late")
    a.add_argument("--roster", type=Path, help="a text file with one student a line; who is missing gets a row")
    a.add_argument("--again", nargs="*", default=(), metavar="STUDENT", help="grade these again though nothing changed")
    a.add_argument("--quiet", action="store_true", help="no progress bar")
    a = commands.add_parser("export", help="the same assignment for another grader")
    a.add_argument("to", choices=("nbgrader", "gradescope"), help="a course folder, or an autograder archive")
    a.add_argument("assignment", help=known)
    a.add_argument("path", type=Path, help="the course folder, or the archive to write (.zip)")
    return out


def do_release(args):
    """Write, or compare, the student versions."""
    with contextlib.nullcontext() if args.compare else Zygote() as zygote:
        for name in args.assignment:
            assignment = load(name)
            text = release.release(name, zygote)
            path = release.path_of(assignment) if args.to is None else args.to
            path = path / f"{assignment.name}.ipynb" if path.is_dir() else path
            if args.compare:
                if not path.exists() or path.read_text(encoding="utf-8") != text:
                    raise ValueError(f"{path} is not the student version of its master; run release")
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}: {len(assignment.parts)} parts, {assignment.points:g} points")


def do_check(args):
    """Print what the checks say about a student's notebook."""
    name = args.assignment or guess(args.notebook)
    if name is None:
        raise ValueError(
            f"which assignment is {args.notebook.name}? Say --assignment with one of {', '.join(masters())}"
        )
    assignment = load(name)
    read = submission.read(args.notebook, assignment)
    if read.problem:
        raise ValueError(f"{args.notebook}: {read.problem}")
    right = []
    with Zygote() as zygote:
        for part, found in grade.check(zygote, assignment, read):
            print(f"{part.name} ({part.points:g} points): {found.state}")
            print("\n".join(f"  {line}" for line in found.lines()), end="\n\n")
            right += [part] * (found.state == "right")
    if read.notes:
        print("\n".join(["About your file:", *(f"  {note}" for note in read.notes)]), end="\n\n")
    programs = [part for part in assignment.parts if not part.by_hand]
    earned, possible = (sum(p.points for p in parts) for parts in (right, programs))
    print(f"Right on these examples: {len(right)} of {len(programs)} parts, {earned:g} of {possible:g} points.")
    print("Grading uses other shapes, settings and seeds besides.")
    for part in assignment.parts:
        if part.by_hand:
            state = "written; a person will read it" if read.written(part) else "nothing written yet"
            print(f"{part.name} ({part.points:g} points): {state}")


def do_grade(args):
    """Grade a folder."""
    assignment, start = load(args.assignment), time.monotonic()
    due = batch.due_time(args.due) if args.due else None
    roster = args.roster.read_text(encoding="utf-8").split("\n") if args.roster else ()

    def tell(done, count):
        left = (time.monotonic() - start) / done * (count - done)
        end = "\n" if done == count else ""
        print(
            f"\r{done} of {count} graded, about {left / 60:.1f} minutes left   ", end=end, file=sys.stderr, flush=True
        )

    results, isolated = batch.run(
        args.folder, args.assignment, args.out, jobs=args.jobs, salt=os.environ.get("DLGM_SALT"), due=due,
        roster=[name.strip() for name in roster if name.strip()], again=args.again,
        tell=(lambda *_: None) if args.quiet else tell,
    )  # fmt: skip
    if not isolated:
        print("warning: this system lets no process be shut in; a submission that means harm could empty files of "
              "yours or end the run. Grade under a user of its own, or in a container", file=sys.stderr)  # fmt: skip
    print(f"{len(results)} submissions: {args.out / 'marks.csv'}, feedback in {args.out / 'feedback'}")
    if any(part.by_hand for part in assignment.parts):
        print(f"points for written answers go into {args.out / 'by_hand.csv'}; then run the same command again")


def do_export(args):
    """Write a course folder or an archive."""
    if args.to == "nbgrader":
        path = export.nbgrader(args.assignment, args.path)
        print(f"wrote {path}; in {args.path}: nbgrader generate_assignment {path.stem}")
        print("nbgrader runs the tests in the student's own kernel: it is for students whom you trust")
    else:
        print(f"wrote {export.gradescope(args.assignment, args.path, os.environ.get('DLGM_SALT'))}")


def main(argv=None):
    """Run a command; problems are sentences, not tracebacks."""
    args = parser().parse_args(argv)
    try:
        commands = {"release": do_release, "check": do_check, "grade": do_grade, "export": do_export}
        commands[args.command](args)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"python -m dlgm.grading {args.command}: {error}")


if __name__ == "__main__":
    main()
