"""A folder of submissions: who handed in what, several graded at once, resumed where a run was killed."""

import hashlib
import json
import multiprocessing
import re
import secrets
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from . import report, submission
from .assignment import load
from .grade import grade, ungraded
from .sandbox import Zygote


@dataclass(frozen=True)
class Entry:
    """One student's file; ``others`` were handed in too and do not count."""

    student: str
    path: Path | None
    others: tuple[Path, ...] = ()


def in_order(paths, assignment):
    """Several notebooks of one student, the one that counts last: by name the assignment's, else the newest."""
    return sorted(paths, key=lambda p: (p.stem == assignment.name, p.lstat().st_mtime))


def entries(folder, assignment, roster=None):
    """The Entry of each student: FOLDER/STUDENT.ipynb, or FOLDER/STUDENT/.../anything.ipynb, the newest of several.

    Args:
        roster: names of all students; those who handed in nothing get an Entry without a path.
    Raises:
        ValueError: no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder of submissions")
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".ipynb"):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts[:-1]) or inside.name.startswith("._"):
            continue
        student = inside.parts[0] if len(inside.parts) > 1 else path.stem
        files.setdefault(student, []).append(path)
    out = []
    for student, paths in files.items():
        *others, counts = in_order(paths, assignment)
        out.append(Entry(student, counts, tuple(others)))
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() == ".ipynb":
            continue
        if path.name not in files and (path.is_dir() or path.stem not in files):
            out.append(Entry(path.name if path.is_dir() else path.stem, None))
    known = {e.student for e in out}
    return out + [Entry(name, None) for name in roster or () if name not in known]


def file_name(student):
    """A file name for a student: letters, digits, . _ -; anything else makes it carry a hash of the name."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", student).strip(".")[:80]
    if plain == student:
        return plain
    return f"{plain or 'student'}-{hashlib.sha256(student.encode(errors='surrogatepass')).hexdigest()[:8]}"


def printable(text):
    """A name as it can be shown and stored: control and half characters become question marks."""
    shown = "".join(c if c.isprintable() else "?" for c in text.encode(errors="replace").decode())
    return shown if shown == text else f"{shown} {hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def salt_of(out, given):
    """The secret of the hidden cases: what was given, or OUT/salt.txt, made at the first run."""
    path = out / "salt.txt"
    if given:
        return given
    if not path.exists():
        report.write(path, secrets.token_hex(16) + "\n")
        path.chmod(0o600)
    return path.read_text(encoding="utf-8").strip()


def stamp(assignment, salt, digest):
    """What a result depends on; a result with the same stamp is taken as it is."""
    text = json.dumps([assignment.name, [(p.name, p.points) for p in assignment.parts], salt, digest])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_here = []  # this process's Zygote


def _zygote(fresh=False):
    """The clean process that belongs to this one."""
    if fresh or not _here:
        if _here:
            _here.pop().close()
        _here.append(Zygote())
    return _here[0]


def grade_one(assignment, entry, read, mark, salt, due):
    """(result as a dict with its stamp, whether the worker was isolated) of one entry.

    Whatever a notebook does, the others are graded: what fails is tried once more, then given up until the next run.
    """
    if entry.others:
        read.notes.append(f"Several notebooks were handed in; {entry.path.name} was graded.")
    student = printable(entry.student)
    for fresh in (False, True):
        try:
            result = grade(_zygote(fresh), assignment, read, salt, student)
            break
        except Exception as error:
            problem = f"This notebook could not be graded ({type(error).__name__}); ask your teacher to look at it."
    else:
        result, mark = ungraded(assignment, read.digest, problem, student), ""
    return replace(result, late_hours=_late(entry.path, due)).as_dict() | {"stamp": mark}, _zygote().isolated


def _read(entry, assignment):
    if entry.path is None:
        return submission.Submission(problem="Nothing was handed in.")
    try:
        return submission.read(entry.path, assignment)
    except Exception as error:  # whatever a file does to the reader, the others are graded
        problem = f"This notebook could not be read ({type(error).__name__}); ask your teacher to look at it."
        return submission.Submission(problem=problem)


def run(folder, source, out, *, jobs=1, salt=None, due=None, roster=(), again=(), tell=lambda done, todo: None):
    """Grade a folder; returns (results as dicts, whether workers were isolated).

    Writes OUT/results/*.json, each when it is done, then OUT/feedback/*.html, OUT/marks.csv and OUT/by_hand.csv. A
    result that is there for the same file, assignment and salt is kept, so a run that was killed goes on.

    Args:
        source: name of the assignment, or the path of its master.
        jobs: submissions graded at once, each in processes of its own. due: a datetime; lateness is reported, no points
            are taken.
        again: students to grade even if nothing changed. tell: called with (done, to do) after each.
    """
    assignment, out = load(source), Path(out)
    for name in ("results", "feedback"):
        (out / name).mkdir(parents=True, exist_ok=True)
    salt, by_hand = salt_of(out, salt), report.read_hand(out / "by_hand.csv", assignment)
    todo, results, isolated = [], [], True
    for entry in entries(folder, assignment, roster):
        read = _read(entry, assignment)
        mark = stamp(assignment, salt, read.digest or read.problem)
        old = _kept(out / "results" / f"{file_name(entry.student)}.json", mark)
        if old is None or entry.student in again:
            todo.append((entry, read, mark))
        else:
            results.append({**old, "late_hours": _late(entry.path, due)})
    count = len(results) + len(todo)

    def finish(entry, result, alone):
        nonlocal isolated
        isolated &= alone
        report.write(out / "results" / f"{file_name(entry.student)}.json", report.result_json(result))
        results.append(result)
        tell(len(results), count)

    if jobs <= 1:
        for entry, *given in todo:
            finish(entry, *grade_one(assignment, entry, *given, salt, due))
    else:
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
            running = {pool.submit(grade_one, assignment, e, *given, salt, due): e for e, *given in todo}
            for future in as_completed(running):
                finish(running[future], *future.result())
    for result in results:
        report.write(
            out / "feedback" / f"{file_name(result['student'])}.html", report.page(assignment, result, by_hand)
        )
    report.write(out / "marks.csv", report.marks_csv(assignment, results, by_hand))
    report.write(out / "by_hand.csv", report.hand_csv(assignment, results, by_hand))
    return results, isolated


def _kept(path, mark):
    """The result in a file if it has this stamp, else None."""
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return old if isinstance(old, dict) and old.get("stamp") == mark else None


def _late(path, due):
    """Hours after the due time by the file's date, 0 if none."""
    if path is None or due is None:
        return 0.0
    seconds = path.lstat().st_mtime - due.timestamp()
    return round(max(0.0, seconds / 3600), 2)


def due_time(text):
    """A datetime from 2026-12-01T18:00.

    Raises:
        ValueError: not of this form.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; write it like 2026-12-01T18:00") from None
