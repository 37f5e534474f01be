"""Grades submissions: student code runs in a worker, the comparison and the marks are made here."""

import functools
import hashlib
import hmac
import signal
import time
from dataclasses import asdict, dataclass, field

import torch

from ..exercises.engine import mark, run
from . import submission as reader
from .sandbox import GONE, Remote, Stopped

CELL_SECONDS = 10
SLOW = 1  # seconds by the clock after which a cell is reduced to what the answers need, before it is run again
STARTS = 300  # seconds by the clock that running the cells may take in all, besides the time for the answers
WORDS = 5000  # characters of a report that are shown
NOTES = 20
NOTHING = "No answer was found."


@dataclass(frozen=True)
class PartResult:
    """What one part earned, in points and in words."""

    name: str
    points: float
    out_of: float
    state: str  # "right", "not yet", "not attempted", "by hand"
    words: str = ""
    mistake: str = ""
    checks: tuple = ()
    pictures: dict = field(default_factory=dict)  # of what was written: attachments, as a notebook has them


@dataclass(frozen=True)
class Result:
    """What a submission earned; ``points`` are those that no person has to give."""

    student: str
    digest: str
    parts: tuple[PartResult, ...]
    notes: tuple[str, ...] = ()
    problem: str = ""
    late_hours: float = 0.0

    @property
    def points(self):
        return sum(part.points for part in self.parts)

    def as_dict(self):
        """Plain values, for JSON."""
        return asdict(self) | {"points": self.points}


class Session:
    """The worker of one submission. When it has to be stopped, the next call starts another one.

    All of it may take a minute and three times what one call of each part may take, by the clock, and ``STARTS``
    besides to run the cells, which happens for each part.
    """

    def __init__(self, zygote, assignment, submission):
        self.end = time.monotonic() + 60 + 3 * sum(p.exercise.seconds for p in assignment.parts if not p.by_hand)
        self._zygote, self._worker, self.errors, self._spare = zygote, None, [], STARTS
        cells = [reader.Cell(reader.definitions(text), "given") for text in assignment.setup] + submission.code
        self._cells, self._kinds = [cell.text for cell in cells], [cell.kind for cell in cells]
        self._given = len(assignment.setup)
        self._names = {*submission.names, *submission.names.values()}

    @functools.cached_property
    def _needed(self):
        """The cells without what the answers do not need."""
        return reader.needed(self._cells, self._names, self._given)

    def _start(self):
        """Run all cells, in a time of their own."""
        begun = time.monotonic()
        self.end += self._spare
        try:
            while not self._run_all():
                self._left()
        finally:
            self._spare = max(0, self._spare - (time.monotonic() - begun))
            self.end -= self._spare

    def _run_all(self):
        """Run all cells in a new worker; whether that went to the end.

        A cell that is slow is run without what the answers do not need from the next time on; one that ends the process
        or never ends as well, then reduced to its definitions, then left out.
        """
        self._worker, slow = self._zygote.worker(), []
        for i, (cell, kind) in enumerate(zip(self._cells, self._kinds, strict=True)):
            begun = time.monotonic()
            message = {"do": "run", "source": cell, "effects": kind == "answer"}
            try:
                reply = self._worker.ask(message, CELL_SECONDS, self._left())
            except Stopped as error:
                error = self._ended(error, CELL_SECONDS)
                shorter = (self._needed[i], reader.definitions(cell), reader.definitions(cell, calls=False), "")
                self._cells[i] = next(text for text in shorter if len(text) < len(cell) or not text)
                self._note(f"One of your cells was run in part only: {error}.")
                break
            if time.monotonic() - begun > SLOW:
                slow.append(i)
            if "error" in reply and kind != "given":
                said = ", ".join(str(reply[key])[:300] for key in ("error", "text", "where") if reply.get(key))
                self._note(f"One of your cells raised {said}; the rest of it was run.")
        for i in slow:
            self._cells[i] = min(self._cells[i], self._needed[i], key=len)
        return self._worker is not None

    def _left(self):
        """Seconds by the clock that are left."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise Stopped("the notebook has used up the time it may take as a whole")
        return left

    def _note(self, sentence):
        if sentence not in self.errors and len(self.errors) < NOTES:
            self.errors.append(sentence)

    def ask(self, message, seconds):
        """A reply of the worker, which is started if there is none.

        Raises:
            Stopped: there is no answer; the worker is ended.
        """
        try:
            self._left()
            if self._worker is None:
                self._start()
            return self._worker.ask(message, seconds, self._left())
        except Stopped as error:
            raise self._ended(error, seconds) from None

    def _ended(self, error, seconds):
        """Close, and say how the process ended if it did so by itself."""
        number = self.close()
        if str(error) != GONE:
            return error
        if number == signal.SIGXCPU:
            return Stopped(f"it did not end within {seconds:g} seconds of processor time")
        return Stopped(
            f"{GONE}: {f'it crashed ({signal.Signals(number).name})' if number else 'something called exit'}"
        )

    def close(self):
        """End the worker; returns the number of the signal that ended it."""
        number = 0
        if self._worker is not None:
            self._worker.close()
            number = self._zygote.stop_worker()
            self._worker = None
        return number


def generator(salt, part):
    """The source of a part's hidden cases: the same for all students, unknown without the salt."""
    seed = hmac.new(salt.encode(), part.encode(), hashlib.sha256).digest()
    return torch.Generator().manual_seed(int.from_bytes(seed[:7], "big"))


def ungraded(assignment, digest, problem, student=""):
    """The Result of a submission from which nothing could be marked, with a sentence that says why."""
    parts = tuple(PartResult(p.name, 0.0, p.points, "not attempted") for p in assignment.parts)
    return Result(student, digest, parts, problem=problem)


def grade(zygote, assignment, submission, salt, student=""):
    """The Result of one Submission."""
    if submission.problem:
        return ungraded(assignment, submission.digest, submission.problem, student)
    session = Session(zygote, assignment, submission)
    try:
        parts = tuple(_part(session, part, submission, salt) for part in assignment.parts)
    finally:
        session.close()
    return Result(student, submission.digest, parts, (*submission.notes, *session.errors))


def _part(session, part, submission, salt):
    if part.by_hand:
        text = submission.written(part)
        state = "by hand" if text else "not attempted"
        pictures = submission.pictures.get(part.name, {})
        return PartResult(part.name, 0.0, part.points, state, text or NOTHING, pictures=pictures)
    if part.name in submission.broken:
        return PartResult(part.name, 0.0, part.points, "not yet", submission.broken[part.name])
    function = Remote(session, part.name, part.exercise.seconds, submission.names[part.name])
    marks = mark(part.exercise, function, generator(salt, part.name))
    session.close()  # what one part was asked stays unknown to the others
    report, share = marks.report, marks.share
    words = "\n".join(report.lines())[:WORDS] if report.state != "not attempted" else NOTHING
    if report.state == "right" and share < 1:
        failed = ", ".join(label for label, passed in marks.checks[1:] if not passed)
        words = f"The examples shown pass. On other inputs this fails: {failed}."
    state = "not yet" if report.state == "right" and share < 1 else report.state
    mistake = report.mistake.name if report.mistake else ""
    return PartResult(part.name, round(part.points * share, 2), part.points, state, words, mistake, marks.checks)


def check(zygote, assignment, submission):
    """What a student sees before handing in: (part, Report) for each part that a program marks, on the examples shown.

    Notes on cells that raised are in ``submission.notes`` at the end.
    """
    session = Session(zygote, assignment, submission)
    try:
        for part in assignment.parts:
            if not part.by_hand:
                function = Remote(session, part.name, part.exercise.seconds, submission.names[part.name])
                yield part, run(part.exercise, function)
    finally:
        session.close()
        submission.notes.extend(session.errors)
