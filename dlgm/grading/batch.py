"""A folder of submissions: who handed in what, several graded at once, resumed where a run was killed."""

import difflib
import hashlib
import json
import multiprocessing
import os
import re
import secrets
import stat
import unicodedata
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from .. import exercises
from . import hand, lockdown, report, roster, submission
from .assignment import YOURS, load
from .grade import PartResult, Result, grade, ungraded
from .sandbox import Zygote

AT_ONCE = 120  # seconds between files that an archive or a download wrote one after the other


@dataclass(frozen=True)
class Entry:
    """One student's file; ``others`` were handed in too and do not count, nor does what is no notebook, ``more``."""

    student: str
    path: Path | None
    others: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()  # under which a class list may have the student
    more: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """Results as dicts, whether all workers were isolated, sentences for the teacher, what a person gave."""

    results: list
    isolated: bool
    remarks: list
    given: hand.Hand


def listed(name):
    """(student, names that a class list may hold) from the name of a file or folder, those of an LMS included.

    Moodle: ``Jane Doe_123_assignsubmission_file``; Canvas: ``doejane_LATE_123_456_hw``, 123 being its ID; Brightspace:
    ``12-34 - Jane Doe - Nov 1, 2026 1011 AM``; Sakai: ``Doe, Jane(jdoe)``; Blackboard: ``hw_jdoe_attempt_`` and a time,
    where only the class list tells which end of ``hw_jdoe`` is the student.
    """
    moodle = re.fullmatch(r"(.+)_(\d+)_assignsubmission_.*", name)
    canvas = re.fullmatch(r"([^\W\d_][^_]*)_(?:LATE_)?(?!20\d\d_[01]?\d_)(\d+)_\d+_.+", name)  # no date
    if found := moodle or canvas:
        student = f"{found[1]}_{found[2]}"
        return student, (student, found[1]) if moodle else (student, found[2], found[1])
    if found := re.fullmatch(r"(\d+-\d+) - (?:\w*\d\w* - )?(.+?) ?- [^-]*\d{4} \d{3,4}\b.*", name):  # Brightspace
        return f"{found[2]}_{found[1]}", (f"{found[2]}_{found[1]}", found[2])
    if found := re.fullmatch(r"(.+)_attempt_\d{4}(?:-\d\d){5}(?:_.*)?", name):  # Blackboard
        return found[1], tuple(found[1][k:] for k, c in enumerate(f"_{found[1]}") if c == "_")
    if found := re.fullmatch(r"(.+, .+)\(([^()\s]+)\)", name):  # Sakai
        return name, (name, found[2], found[1])
    return name, (name,)


PUT_IN_FRONT = r".+_assignsubmission_[a-z]+_|.+?_(?:LATE_)?\d+_\d+_|.+_attempt_[\d-]+_|\d+-\d+ - .+ - "  # by an LMS
COPY = r"(?:[-_ ]*copy *\d*|[-_ ]*\(\d+\)|-\d{1,3})+$"  # put behind a file's name, by an LMS, a browser or JupyterLab


def _like(path, assignment):
    """How much a file's name is the assignment's, whatever an LMS or a browser put around it: 2, 1 or 0."""

    def plain(text):
        return re.sub(r"[\W_]+", "_", unicodedata.normalize("NFKC", text).casefold()).strip("_")

    name, stems = plain(assignment.name), (path.stem, re.sub(rf"^(?:{PUT_IN_FRONT})", "", path.stem))
    whole = [plain(stem) for stem in stems]
    bare = [plain(re.sub(COPY, "", stem, flags=re.IGNORECASE)) for stem in stems]
    return 2 if name in (*whole, *bare) else int(any(f"_{name}_" in f"_{stem}_" for stem in whole))


def in_order(paths, assignment):
    """Several notebooks of one student, the one that counts last.

    One with answers comes before one without, then the one with the assignment's name, then with most of its labels,
    then the one handed in last by the number that Canvas gives, by the files' times, and by the number of a copy.
    """
    paths = list(paths)
    if len(paths) < 2:
        return paths
    times = {path: found.st_mtime if (found := _stat(path)) else 0.0 for path in paths}
    if max(times.values()) - min(times.values()) < AT_ONCE:
        times = dict.fromkeys(paths, 0.0)
    graded = sum(not part.by_hand for part in assignment.parts)

    def key(path):
        try:
            raw = submission.content(path)
        except ValueError:
            return (False, _like(path, assignment), 0, 0, times[path], 0)
        labels = sum(f'"{part.name}"'.encode() in raw for part in assignment.parts)
        answered = labels > 0 and (raw.count(b"raise NotImplementedError") < graded or YOURS.encode() not in raw)
        numbers = [int(n) for n in re.findall(r"(?<=-)\d{1,3}$|(?<=\()\d{1,3}(?=\)$)|(?<=opy)\d{1,3}$", path.stem)]
        again = numbers[0] if numbers and re.search(r"-\d+$", path.stem) else 0
        return answered, _like(path, assignment), labels, again, times[path], sum(numbers)

    return sorted(paths, key=key)


def _stat(path):
    """What the system says about a file or link; None if it says nothing."""
    try:
        return path.lstat()
    except (OSError, ValueError):
        return None


def _visible(folder):
    """What lies in a folder, without what is hidden and what a Mac leaves behind; None if it cannot be opened."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return None
    left = re.compile(r"__MACOSX|\._.*|\.(?!.*\.ipynb$).*", re.IGNORECASE | re.DOTALL)
    return [folder / name for name in names if not left.fullmatch(name)]


def _below(path):
    """The files in a folder and in folders in it, and the folders that cannot be opened; no link is followed."""
    out, left = [], [path]
    while left:
        here = left.pop()
        inside = _visible(here) if os.path.isdir(here) and not os.path.islink(here) else None
        left += inside or []
        out += [here] if inside is None else []
    return sorted(out)


def _handed_in(folder):
    """What lies in FOLDER; where that is only folders which hold what an LMS gave, what lies in them."""
    found = inside = _visible(folder)
    loose = []
    while not (_from_lms(inside) or any(path.suffix.lower() == ".ipynb" for path in inside)):
        folders = [path for path in inside if os.path.isdir(path) and not os.path.islink(path)]
        loose += [path for path in inside if path not in folders]
        within = [_visible(path) or [] for path in folders]
        if folders and all(map(_from_lms, within)):
            return [path for paths in (loose, *within) for path in paths]
        if len(folders) != 1:
            break
        inside = within[0]
    return found


def _from_lms(paths):
    """Whether these are the folders or files of several students as an LMS names them."""
    stems = [path.name if os.path.isdir(path) else path.stem for path in paths]
    students = {listed(stem)[0] for stem in stems if listed(stem)[0] != stem}
    return len(students) > 1 or any("_assignsubmission_" in stem for stem in stems)


def entries(folder, assignment):
    """(entries, names of files left alone): FOLDER/STUDENT.ipynb, or FOLDER/STUDENT/.../anything.ipynb, one of several.

    A level more, as archives of an LMS have it, does not matter.

    Raises:
        ValueError: no such folder, or it cannot be opened.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder of submissions")
    found, others = {}, []
    if _visible(folder) is None:
        raise ValueError(f"{folder} cannot be opened")
    for path in _handed_in(folder):
        is_folder = os.path.isdir(path)
        student, names = listed(path.name if is_folder else path.stem)
        files = _below(path) if is_folder else [path]
        cut_off = path.suffix == ".part" or ".ipynb" not in path.name.lower()
        if not is_folder and path.suffix.lower() != ".ipynb" and cut_off and student == path.stem:
            others.append(printable(path.name))
        else:
            found.setdefault(student, (names, []))[1].extend(files)
    out = []
    for student, (names, files) in found.items():
        paths = in_order([path for path in files if path.suffix.lower() == ".ipynb"], assignment)
        more = tuple(printable(path.name) for path in files if path not in paths)
        out.append(Entry(student, paths[-1] if paths else None, tuple(paths[:-1]), names, more))
    return out, others


def file_name(student):
    """A file name for a student: letters, digits, . _ -; what is anything else, or looks hashed, carries a hash."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", student).strip(".")[:80]
    if plain == student and not re.search(r"-[0-9a-f]{8}$", plain):
        return plain
    return f"{plain or 'student'}-{hashlib.sha256(student.encode(errors='surrogatepass')).hexdigest()[:8]}"


def printable(text):
    """A name as it can be shown and stored: no control or half characters, no spaces around it.

    A name that is changed carries a hash of what it was, and so does one that looks as if it did.
    """
    shown = "".join(c if c.isprintable() else "?" for c in text.encode(errors="replace").decode()).strip()
    if shown == text and not re.search(r" [0-9a-f]{8}$", text):
        return text
    return f"{shown} {hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def salt_of(out, given):
    """The secret of the hidden cases: what was given, or OUT/salt.txt, made at the first run.

    Raises:
        ValueError: the file is empty or no text.
    """
    path = out / "salt.txt"
    if given:
        return given
    if not path.exists():
        report.write(path, secrets.token_hex(16) + "\n")
        path.chmod(0o600)
    secret = report.saved(path).strip("\ufeff\r\n\t \0")
    if not secret:
        raise ValueError(f"{path} is empty: put back its text, or delete it, and everybody is graded on other cases")
    return secret


def stamp(assignment, salt, digest, code=""):
    """What a result depends on; a result with the same stamp is taken as it is.

    Args:
        digest: of the student's file, and what else was handed in. code: of what grades it, see ``code_digest``.
    """
    text = json.dumps([assignment.name, assignment.notebook, salt, digest, code], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code_digest():
    """SHA-256 of the files that marks come from: the bank with its cases, what it is made of, and the grader."""
    folders = {Path(__file__).parents[1], *map(Path, exercises.__path__)}
    files = {path for folder in folders for path in folder.rglob("*.py") if "plots" not in path.parts}
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(files))).hexdigest()


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
            read = submission.Submission(problem=_nothing(entry))
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


def _nothing(entry):
    """A sentence about an entry without a notebook."""
    few = ", ".join(entry.more[:5]) + ", ..." * (len(entry.more) > 5)
    return f"No notebook was handed in, but {few}; hand in the .ipynb itself." if few else "Nothing was handed in."


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
        last |= _told(path)
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


def _told(path):
    """What run.json holds.

    Raises:
        ValueError: it is damaged.
    """
    try:
        last = json.loads(path.read_bytes())
        kinds = {"assignment": str, "due": str, "list": list | None}
        pair = list(map(type, last.get("list") or ["", ""]))
        if all(isinstance(last.get(key), kind) for key, kind in kinds.items()) and pair == [str, str]:
            return last
    except (ValueError, AttributeError, TypeError):
        pass
    raise ValueError(f"{path} is damaged: delete it, and say --due and --roster again if there were any")


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
    odd = [f"{printable(e.student)} ({', '.join(e.more[:3])})" for e in found if e.more and not e.path]
    remarks += [f"no notebook, but other files: {'; '.join(odd)}"] * bool(odd)
    many = [f"{printable(e.student)} ({len(e.others) + 1})" for e in found if len(e.others) > 1]
    remarks += [f"many notebooks in one entry, is FOLDER a level too high? {'; '.join(many)}"] * bool(many)
    if listing and len(listing.columns) > 1:
        roster.column(listing, assignment)  # what it refuses, it refuses before anything is graded
    students, missing = _on_the_list(listing, found, remarks)
    found += [Entry(name, None) for name in missing]
    called = {printable(entry.student): entry.names for entry in found}
    meant = {name: roster.who(name, called) for name in again}
    for name in (name for name, student in meant.items() if student is None):
        near = difflib.get_close_matches(name, called, 1, 0.4)
        raise ValueError(f"there is no submission of {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    times = sorted(known.st_mtime for entry in found if entry.path and (known := _stat(entry.path)))
    if due and len(times) > 2 and times[-1] - times[0] < AT_ONCE:
        remarks.append("all files are of one time, as after a download: hours of lateness may mean nothing")
    given = hand.read(out / "by_hand.csv", assignment).called(called)
    (out / "results").mkdir(parents=True, exist_ok=True)
    _tidy(out)
    salt, code = salt_of(out, salt), code_digest()
    todo, results, isolated, changed = [], [], True, 0
    for entry in found:
        digest = _digest(entry.path)
        mark = stamp(assignment, salt, [digest, [path.name for path in entry.others], entry.more], code)
        old = _kept(out / "results" / f"{file_name(entry.student)}.json")
        if old is None or old["stamp"] != mark or printable(entry.student) in meant.values():
            todo.append((entry, mark))
            changed += bool(old and old["stamp"] not in ("", mark) and old["digest"] == digest)
        else:
            results.append({**old, "late_hours": _late(entry.path, due)})
    if changed:
        remarks.append(f"graded again, since the assignment, the secret or the program changed: {changed}")
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
        given = hand.read(out / "by_hand.csv", assignment).called(called)  # a person may have filled it in meanwhile
        report.write(out / "by_hand.csv", hand.table(assignment, results, given))
    except ValueError as error:
        remarks.append(f"{error}; what it held before this run was counted")
    _write(out, assignment, results, given)
    (out / "gradebook.csv").unlink(missing_ok=True)
    if listing and len(listing.columns) > 1:
        report.write(out / "gradebook.csv", roster.gradebook(listing, students, assignment, results, given, missing))
    remarks += [f"by_hand.csv: {line}" for line in given.remarks(results)]
    return Outcome(results, isolated, remarks, given)


def _tidy(out):
    """Remove what runs that were killed left half written: files of processes that are gone."""
    for path in [path for folder in (out, out / "results", out / "feedback") for path in folder.glob("*.part")]:
        process = re.search(r"\.(\d+)\.part$", path.name)
        try:
            os.kill(int(process[1]), 0) if process else path.unlink()
        except ProcessLookupError:
            path.unlink()
        except OSError:
            pass  # of another user, or gone


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
    students, left = listing.match(known)
    unclear, missing = listing.unclear(known, students), []
    called = {
        i: roster.names(listing, row) for i, row in enumerate(listing.rows) if row[0].strip()
    }  # not Canvas' notices
    called = {i: names for i, names in called.items() if not roster.is_limits(listing.rows[i])}
    for i, fitting in unclear.items():
        remarks.append(f"several fit, no total is written: {' '.join(listing.rows[i])} may be {' or '.join(fitting)}")
    left = [name for name in left if not any(name in fitting for fitting in unclear.values())]
    for i in (i for i in called if students[i] is None and i not in unclear):
        same = next((students[j] for j in called if j < i and students[j] in missing and listing.same(i, j)), None)
        others = {names[0] for j, names in called.items() if not listing.same(i, j)}
        taken, spelled = {*known, *missing, *others}, [printable(name) for name in called[i]]
        students[i] = same or next((name for name in spelled if name not in taken), f"{spelled[-1]} {i + 1}")
        missing += [students[i]] * (not same)
    if left:
        near = {name: roster.near(known[name][-1], missing) for name in left}
        said = [f"{name} (is it {near[name]}?)" if near[name] else name for name in left]
        remarks.append(f"not on the roster: {'; '.join(said)}")
    if missing:
        remarks.append(f"nothing handed in: {'; '.join(missing)}")
    return students, missing


def _digest(path):
    """SHA-256 of a submission's file; of what is no ordinary file, or too large to be read, what there is to say."""
    if path is None:
        return "nothing"
    found = _stat(path)
    if found is None:
        return "out of reach"
    if not stat.S_ISREG(found.st_mode) or found.st_size > submission.LARGEST:
        return f"{stat.S_IFMT(found.st_mode)} {found.st_size}"
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:  # the reader will say so
        return type(error).__name__


def _kept(path):
    """The result in a file, None if there is none, or it is damaged."""
    try:
        old = json.loads(path.read_bytes())
        wanted = {"stamp", *(field.name for field in fields(Result))}, {field.name for field in fields(PartResult)}
        return old if wanted[0] <= set(old) and all(wanted[1] <= set(part) for part in old["parts"]) else None
    except (OSError, ValueError, TypeError):
        return None


def _late(path, due):
    """Hours after the due time by the file's date, 0 if none."""
    found = None if path is None or due is None else _stat(path)
    if found is None:
        return 0.0
    seconds = found.st_mtime - due.timestamp()
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
