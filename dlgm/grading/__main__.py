"""python -m dlgm.grading release | check | grade | export: see --help of each."""

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

try:
    from . import batch, export, grade, release, report, submission
    from .assignment import guess, load, masters, nowhere
    from .sandbox import Zygote
except KeyboardInterrupt:  # the libraries take seconds to load
    sys.exit("stopped")


def parser():
    """The commands and their arguments."""
    out = argparse.ArgumentParser(
        prog="python -m dlgm.grading", description="Homework: release it, check it, grade it."
    )
    commands = out.add_subparsers(dest="command", required=True)
    known = f"{', '.join(masters()) or 'none yet'}, or the path of a master notebook"
    a = commands.add_parser("release", help="write the student version of an assignment")
    a.add_argument("assignment", nargs="*", default=masters(), help=f"{known} (default: all)")
    a.add_argument(
        "--to", type=Path, help="a folder, or for one assignment a file .ipynb (default: notebooks/homework)"
    )
    a.add_argument("--compare", action="store_true", help="write nothing; fail if the file that is there differs")
    a = commands.add_parser("check", help="what a student sees before handing in")
    a.add_argument("notebook", type=Path, help="your notebook")
    a.add_argument("--assignment", help=f"{known} (default: the one the notebook was made from)")
    a = commands.add_parser("grade", help="grade a folder of submissions")
    where = (
        "FOLDER/STUDENT.ipynb, FOLDER/STUDENT/ANY.ipynb, or as Moodle, Canvas, Blackboard, Brightspace, Sakai name them"
    )
    a.add_argument("folder", type=Path, help=where)
    a.add_argument("--assignment", required=True, help=known)
    a.add_argument("--out", type=Path, required=True, help="folder for marks, results and feedback")
    a.add_argument("--jobs", type=int, default=1, help="submissions graded at once (%(default)s)")
    late = "local time, 2026-12-01T18:00; files changed later are marked as late by so many hours, no points are taken"
    a.add_argument("--due", help=f"{late} (a download may have lost the time); remembered, 'none' forgets it")
    names = "the class: a text file with one student a line, or a .csv as Canvas or Moodle export it"
    a.add_argument("--roster", help=f"{names}; remembered, 'none' forgets it")
    again = "grade this one again though nothing changed; may be given several times"
    a.add_argument("--again", action="append", default=[], metavar="STUDENT", help=again)
    a.add_argument("--quiet", action="store_true", help="no progress bar")
    a = commands.add_parser("export", help="the same assignment for another grader")
    a.add_argument("to", choices=("nbgrader", "gradescope"), help="a course folder, or an autograder archive")
    a.add_argument("assignment", help=known)
    a.add_argument("path", type=Path, help="the course folder, or the archive to write (.zip)")
    return out


def do_release(args):
    """Write, or compare, the student versions."""
    if not args.assignment:
        raise ValueError(f"there is nothing to release: {nowhere()}")
    if args.to and args.to.suffix == ".ipynb" and len(args.assignment) > 1:
        raise ValueError(f"{args.to} is one file for {len(args.assignment)} assignments; name one, or give a folder")
    with contextlib.nullcontext() if args.compare else Zygote() as zygote:
        for name in args.assignment:
            assignment = load(name)
            if not args.compare:
                print(f"{name}: grading its solutions and running it without them takes a minute or two", flush=True)
            text = release.release(name, zygote)
            path = release.path_of(assignment) if args.to is None else args.to
            path = path if path.suffix == ".ipynb" else path / f"{assignment.name}.ipynb"
            if args.compare:
                if not path.exists() or path.read_text(encoding="utf-8") != text:
                    raise ValueError(f"{path} is not the student version of its master; run release")
                continue
            report.write(path, text)
            print(f"wrote {path}: {len(assignment.parts)} parts, {assignment.points:g} points")


def steady(text):
    """A text, which may come from a notebook or be a file's name, without what would steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def say(text):
    """Print a text that may come from a notebook."""
    print(steady(text))


def do_check(args):
    """Print what the checks say about a student's notebook."""
    try:
        raw = submission.content(args.notebook)
        name = args.assignment or guess(raw.decode(errors="replace"))
        if name is None:
            submission.parsed(raw)  # to say first that it is no notebook
    except ValueError as error:
        raise ValueError(f"{args.notebook}: {error}") from None
    if name is None:
        raise ValueError(
            f"which assignment is {args.notebook.name}? Say --assignment with one of {', '.join(masters())}"
            if masters()
            else nowhere()
        )
    assignment = load(name)
    read = submission.read(args.notebook, assignment)
    if read.problem:
        raise ValueError(f"{args.notebook}: {read.problem}")
    right = []
    with Zygote() as zygote:
        for part, found in grade.check(zygote, assignment, read):
            say(f"{part.name} ({part.points:g} points): {found.state}")
            say("\n".join(f"  {line}" for line in found.lines()) + "\n")
            right += [part] * (found.state == "right")
    if read.notes:
        say("\n".join(["About your file:", *(f"  {note}" for note in read.notes)]) + "\n")
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
    assignment, start, reached = load(args.assignment), time.monotonic(), [0, 0]
    if not args.folder.is_dir():
        raise ValueError(f"{args.folder} is no folder of submissions")
    due, listing, said = batch.remembered(args.out, assignment.name, args.due, args.roster)

    def tell(done, count):
        reached[:] = done, count
        left = (time.monotonic() - start) / done * (count - done)
        end = "\n" if done == count else ""
        if not args.quiet:
            words = f"\r{done} of {count} graded, about {left / 60:.1f} minutes left   "
            print(words, end=end, file=sys.stderr, flush=True)

    try:
        results, isolated, remarks, given = batch.run(
            args.folder, args.assignment, args.out, jobs=args.jobs, salt=os.environ.get("DLGM_SALT"), due=due,
            listing=listing, again=args.again, tell=tell,
        )  # fmt: skip
    except KeyboardInterrupt:
        done, count = reached
        many = f"{done} of {count}" if count else "none"
        print(f"\nstopped; {many} graded so far. The same command goes on from here.", file=sys.stderr, flush=True)
        os._exit(130)  # ends the graders, too, whatever they are doing
    if not isolated:
        print("warning: this system lets no process be shut in; a submission that means harm could empty files of "
              "yours or end the run. Grade under a user of its own, or in a container", file=sys.stderr)  # fmt: skip
    print("\n".join([*said, *remarks]), end="\n" if said or remarks else "")
    print(f"{args.out / 'marks.csv'} has {len(results)} rows; feedback is in {args.out / 'feedback'}")
    waiting = [given.waiting(result) for result in results]
    if sum(waiting):
        print(f"written answers still to be marked: {sum(waiting)}, students: {sum(map(bool, waiting))};")
        print(f"read {args.out / 'by_hand.ipynb'}, fill in {args.out / 'by_hand.csv'}, run the same command again")


def do_export(args):
    """Write a course folder or an archive."""
    if args.to == "nbgrader":
        path = export.nbgrader(args.assignment, args.path)
        print(f"wrote {path}; in {args.path}: nbgrader generate_assignment {path.stem}")
        print("nbgrader runs the tests in the student's own kernel: it is for students whom you trust")
    else:
        path = export.gradescope(args.assignment, args.path, os.environ.get("DLGM_SALT"))
        by_hand = sum(part.points for part in load(args.assignment).parts if part.by_hand)
        print(f"wrote {path}: upload it as the autograder")
        print(f"it holds solutions and the secret of the hidden cases; {by_hand:g} points given by hand are not in it")


def main(argv=None):
    """Run a command; problems are sentences, not tracebacks."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a notebook's
            stream.reconfigure(errors="backslashreplace")  # a name that the console cannot show stops nothing
    args = parser().parse_args(argv)
    try:
        commands = {"release": do_release, "check": do_check, "grade": do_grade, "export": do_export}
        commands[args.command](args)
    except KeyboardInterrupt:
        sys.exit("stopped")
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(steady(f"python -m dlgm.grading {args.command}: {error}"))


if __name__ == "__main__":
    main()
