"""A folder of submissions: who handed in what, several graded at once, resumed where a run was killed."""

import difflib
import hashlib
import json
import multiprocessing
import re
import secrets
import stat
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from . import hand, lockdown, report, roster, submission
from .assignment import load
from .grade import grade, ungraded
from .sandbox import Zygote


@dataclass(frozen=True)
class Entry:
    """One student's file; ``others`` were handed in too and do not count."""

    student: str
    path: Path | None
    others: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()  # under which a class list may have the student


class Outcome(NamedTuple):
    """Results as dicts, whether all workers were isolated, sentences for the teacher, what a person gave."""

    results: list
    isolated: bool
    remarks: list
    given: hand.Hand


def listed(name):
    """(student, names that a class list may hold) from the name of a file or folder, Moodle's and Canvas' included.

    Moodle: ``Jane Doe_123_assignsubmission_file``; Canvas: ``doejane_LATE_123_456_hw.ipynb``, 123 being its ID.
    """
    moodle = re.fullmatch(r"(.+)_(\d+)_assignsubmission_.*", name)
    canvas = re.fullmatch(r"([^\W\d_]+)_(?:LATE_)?(\d+)_\d+_.+", name)
    if found := moodle or canvas:
        student = f"{found[1]}_{found[2]}"
        return student, (student, found[1 if moodle else 2])
    return name, (name,)


def in_order(paths, assignment):
    """Several notebooks of one student, the one that counts last: by name the assignment's, else the newest."""
    return sorted(paths, key=lambda p: (p.stem == assignment.name, p.lstat().st_mtime))


def entries(folder, assignment):
    """(entries, names of files left alone): FOLDER/STUDENT.ipynb, or FOLDER/STUDENT/.../anything.ipynb, one of several.

    Raises:
        ValueError: no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder of submissions")
    files, out, others = {}, [], []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".ipynb"):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts[:-1]) or inside.name.startswith("._"):
            continue
        files.setdefault(listed(inside.parts[0] if len(inside.parts) > 1 else path.stem), []).append(path)
    for (student, names), paths in files.items():
        *older, counts = in_order(paths, assignment)
        out.append(Entry(student, counts, tuple(older), names))
    known = {entry.student for entry in out}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() == ".ipynb":
            continue
        student, names = listed(path.name if path.is_dir() else path.stem)
        if not path.is_dir() and (path.suffix == ".part" or ".ipynb" not in path.name.lower()):  # cut off
            others.append(printable(path.name))
        elif student not in known:  # an empty folder, or a notebook under a name that is none
            out.append(Entry(student, None, (), names))
    return out, others


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


def grade_one(assignment, entry, mark, salt, due):
    """(result as a dict with its stamp, whether the worker was isolated) of one entry.

    Whatever a notebook does, the others are graded: what fails is tried once more, then given up until the next run.
    """
    student = printable(entry.student)
    for fresh in (False, True):
        try:
            read = submission.Submission(problem="Nothing was handed in.")
            if entry.path:
                read = submission.read(entry.path, assignment)
            if entry.others:
                read.notes.append(f"Several notebooks were handed in; {entry.path.name} was graded.")
            result = grade(_zygote(fresh), assignment, read, salt, student)
            break
        except Exception as error:
            why = type(error).__name__
    else:
        return _given_up(assignment, entry, due, why), _zygote().isolated
    return _stamped(result, entry, mark, due), _zygote().isolated


def _stamped(result, entry, mark, due):
    """A Result as it is kept: a dict with its lateness and its stamp."""
    return replace(result, late_hours=_late(entry.path, due)).as_dict() | {"stamp": mark}


def _given_up(assignment, entry, due, why):
    """The result of an entry that nothing could be done with; without a stamp, so that the next run tries again."""
    problem = f"This notebook could not be graded ({why}); ask your teacher to look at it."
    return _stamped(ungraded(assignment, "", problem, printable(entry.student)), entry, "", due)


def _begin():
    """At the start of a process of the pool; to find this function here, it has loaded all libraries already."""
    lockdown.begin_grading()


def _in_processes(tasks, jobs, assignment, salt, due, finish):
    """Grade (entry, mark) pairs in processes of their own, several at once.

    What ends such a process, by using up the memory for instance, is found by grading one at a time, and given up.
    """
    if not tasks:
        return
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_begin)
    left = list(tasks)
    try:
        running = {pool.submit(grade_one, assignment, *task, salt, due): task for task in tasks}
        for future in as_completed(running):
            if not isinstance(future.exception(), BrokenProcessPool):
                finish(running[future][0], *future.result())
                left.remove(running[future])
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    if left and jobs == 1:
        finish(left[0][0], _given_up(assignment, left[0][0], due, "it ended the grading process"), True)
        _in_processes(left[1:], 1, assignment, salt, due, finish)
    elif left:
        _in_processes(left[:jobs], 1, assignment, salt, due, finish)
        _in_processes(left[jobs:], jobs, assignment, salt, due, finish)


def remembered(out, name, due=None, listing=None):
    """(due, Roster or None, sentences): what is said now, else what the last run into OUT was told; "none" forgets it.

    Raises:
        ValueError: OUT holds the results of another assignment, or what is said cannot be read.
    """
    path, said = Path(out) / "run.json", []
    last = {"assignment": name, "due": "", "list": None}
    if path.exists():
        last |= json.loads(path.read_text(encoding="utf-8"))
    if last["assignment"] != name:
        raise ValueError(f"{out} holds the results of {last['assignment']}; give another --out")
    if due is None and last["due"]:
        said.append(f"due {last['due']}, as in the last run")
    if listing is None and last["list"]:
        said.append(f"roster {last['list'][0]}, as in the last run")
    due = last["due"] if due is None else "" if due == "none" else due
    if listing is None:
        listing = last["list"]
    else:
        listing = None if listing == "none" else [Path(listing).name, report.saved(Path(listing))]
    now = due_time(due) if due else None, roster.parse(*listing) if listing else None, said
    Path(out).mkdir(parents=True, exist_ok=True)
    report.write(path, json.dumps({"assignment": name, "due": due, "list": listing}, ensure_ascii=False) + "\n")
    return now


def run(folder, source, out, *, jobs=None, salt=None, due=None, listing=None, again=(), tell=lambda done, todo: None):
    """Grade a folder; returns an Outcome.

    Writes OUT/results/*.json, each when it is done, then OUT/feedback/*.html, marks.csv, by_hand.csv, by_hand.ipynb
    and, if the class list is a table, gradebook.csv. A result that is there for the same file, assignment and salt is
    kept, so a run that was killed goes on.

    Args:
        source: name of the assignment, or the path of its master.
        jobs: submissions graded at once, each in a process of its own; None: all in this one. due: a datetime; lateness
            by the file's date is reported, no points are taken.
        listing: the class, a Roster; who is missing gets a row. again: students to grade even if nothing changed.
        tell: called with (done, to do) after each.
    Raises:
        ValueError: no such folder, nobody of a name in again, fewer than one job, or by_hand.csv is wrong.
    """
    assignment, out = load(source), Path(out)
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    found, others = entries(folder, assignment)
    remarks = [f"not notebooks, left alone: {', '.join(others)}"] * bool(others)
    students, missing = _on_the_list(listing, found, remarks)
    found += [Entry(name, None) for name in missing]
    names = {entry.student for entry in found}
    for name in set(again) - names:
        near = difflib.get_close_matches(name, names, 1, 0.4)
        raise ValueError(f"there is no submission of {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    times = sorted(entry.path.lstat().st_mtime for entry in found if entry.path)
    if due and len(times) > 2 and times[-1] - times[0] < 120:
        remarks.append("all files are of one time, as after a download: hours of lateness may mean nothing")
    given = hand.read(out / "by_hand.csv", assignment)
    (out / "results").mkdir(parents=True, exist_ok=True)
    salt = salt_of(out, salt)
    todo, results, isolated = [], [], True
    for entry in found:
        mark = stamp(assignment, salt, _digest(entry.path))
        old = _kept(out / "results" / f"{file_name(entry.student)}.json", mark)
        if old is None or entry.student in again:
            todo.append((entry, mark))
        else:
            results.append({**old, "late_hours": _late(entry.path, due)})
    count = len(results) + len(todo)

    def finish(entry, result, alone):
        nonlocal isolated
        isolated &= alone
        report.write(out / "results" / f"{file_name(entry.student)}.json", report.result_json(result))
        results.append(result)
        tell(len(results), count)

    if jobs is None:
        for entry, mark in todo:
            finish(entry, *grade_one(assignment, entry, mark, salt, due))
    else:
        _in_processes(todo, jobs, assignment, salt, due, finish)
    try:
        given = hand.read(out / "by_hand.csv", assignment)  # a person may have filled it in meanwhile
        report.write(out / "by_hand.csv", hand.table(assignment, results, given))
    except ValueError as error:
        remarks.append(f"{error}; what it held before this run was counted")
    _write(out, assignment, results, given)
    (out / "gradebook.csv").unlink(missing_ok=True)
    if listing and len(listing.columns) > 1:
        report.write(out / "gradebook.csv", roster.gradebook(listing, students, assignment, results, given))
    remarks += [f"by_hand.csv: {line}" for line in given.remarks(results)]
    return Outcome(results, isolated, remarks, given)


def _write(out, assignment, results, given):
    """Tables and pages for the teacher and the students."""
    (out / "feedback").mkdir(exist_ok=True)
    pages = {result["student"]: f"{file_name(result['student'])}.html" for result in results}
    for result in results:
        report.write(out / "feedback" / pages[result["student"]], report.page(assignment, result, given))
    report.write(out / "marks.csv", report.marks_csv(assignment, results, given, pages))
    report.write(out / "by_hand.ipynb", hand.notebook(assignment, results, given))


def _on_the_list(listing, found, remarks):
    """(for each row of the class list its student, names of those who handed in nothing)."""
    if listing is None:
        return [], []
    known = {printable(e.student): e.names for e in found}
    students, unlisted = listing.match(known)
    if unlisted:
        remarks.append(f"not on the roster: {'; '.join(unlisted)}")
    missing = []
    for i, row in enumerate(listing.rows):
        if students[i] is None and not roster.is_limits(row) and row[0].strip():  # Canvas leaves it empty in notices
            called = [printable(name) for name in roster.names(listing, row)]
            others = {roster.names(listing, other)[0] for other in listing.rows if other != row and other[0].strip()}
            taken = {*known, *missing, *others}
            students[i] = next((name for name in called if name not in taken), f"{called[-1]} {i + 1}")
            missing.append(students[i])
    if missing:
        remarks.append(f"nothing handed in: {'; '.join(missing)}")
    return students, missing


def _digest(path):
    """SHA-256 of a submission's file; of what is no ordinary file, or too large to be read, what there is to say."""
    if path is None:
        return "nothing"
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > submission.LARGEST:
        return f"{stat.S_IFMT(found.st_mode)} {found.st_size}"
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:  # the reader will say so
        return type(error).__name__


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
