"""The engine that checks an exercise and says what is wrong; it knows no exercise by name.

An ``Exercise`` is a reference, the cases on which an answer is compared with it (smallest first), properties that
must hold besides, the mistakes that people make (``mistakes``: most are the reference with one part edited), and hints.
``run`` gives a ``Report`` in one of three states: not attempted, not yet, right.

Four mistakes are named here, once for all exercises: an input changed in place, a draw from the global generator, a
float64 result for a float32 input, a float32 constant in a float64 formula.
"""

import contextlib
import functools
import html
import inspect
import io
import linecache
import math
import random
import re
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from ..tensors import pullback, touched

SHOWN = 24  # numbers of an input that are printed


@dataclass(frozen=True)
class Case:
    """One call of the learner's function: how to describe it, and its arguments."""

    label: str
    args: tuple


@dataclass(frozen=True)
class Mistake:
    """A known mistake: wrong code, and the sentence that explains it.

    A learner's function that behaves like ``function`` on fresh inputs, where the reference behaves differently, has
    made this mistake.
    """

    name: str
    says: str
    function: Callable | None = None


def edited(function, *changes, source=None):
    """``function`` with its source changed: each change is (old, new), and old stands in it exactly once.

    Args:
        source: of the function, where it has been read already.
    Raises:
        ValueError: old does not stand there once, or what comes out is no Python.
    """
    source = inspect.getsource(function) if source is None else source
    for old, new in changes:
        if source.count(old) != 1:
            raise ValueError(f"{old!r} stands {source.count(old)} times in {function.__name__}, expected once")
        source = source.replace(old, new)
    scope, file = dict(function.__globals__), f"<{function.__name__} edited, {len(linecache.cache)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)  # inspect.getsource shows the edit
    try:
        exec(compile(source, file, "exec"), scope)
    except SyntaxError as error:
        raise ValueError(f"{function.__name__} with {changes} is no Python: {error}") from None
    return scope[function.__name__]


def mistakes(reference, *rows):
    """A Mistake for each row: (name, what the report says, the wrong function or changes of the reference's source)."""
    source, out = inspect.getsource(reference), []  # read once: that takes longer than an edit
    for name, says, *code in rows:
        if len(code) == 1 and callable(code[0]):
            out.append(Mistake(name, says, code[0]))
        elif code and all(isinstance(c, tuple) and len(c) == 2 for c in code):
            try:
                out.append(Mistake(name, says, edited(reference, *code, source=source)))
            except ValueError as error:
                raise ValueError(f"the mistake {name!r} of {reference.__name__}: {error}") from None
        else:
            raise ValueError(f"the mistake {name!r} of {reference.__name__} needs a function or pairs (old, new)")
    return tuple(out)


@dataclass(frozen=True)
class Property:
    """Something that must hold besides the values: ``test(function)`` returns (holds, what was seen)."""

    label: str
    test: Callable


@dataclass(frozen=True)
class Exercise:
    """See the module; ``returns`` names what the function gives back, one name or several: tensors, strings or
    whole numbers. Its name is the reference's.

    With ``gradients``, names of arguments, the gradients of what comes back with respect to these are compared too
    (``tensors.pullback``): a right value that is cut off from its inputs is not right.
    Homework has ``hidden`` besides: cases of other shapes and settings, drawn from a secret generator for grading. Its
    arguments are tensors, numbers, strings and lists of them, its solution is not shown, and one call may take
    ``seconds`` of processor time.
    """

    equation: str
    reference: Callable
    returns: tuple[str, ...]
    cases: Callable[[torch.Generator], list[Case]]
    mistakes: tuple[Mistake, ...]
    start: str
    hint: str
    see: str
    properties: tuple[Property, ...] = ()
    rtol: float = 1e-9
    gradients: tuple[str, ...] = ()
    hidden: Callable[[torch.Generator], list[Case]] | None = None
    seconds: float = 10.0

    @property
    def name(self):
        """What the learner calls the function."""
        return self.reference.__name__


@dataclass(frozen=True)
class Behaviour:
    """All that one call showed: values or the error, positions of the inputs that changed, a draw from the global
    generator."""

    values: tuple | None = None
    error: BaseException | None = None
    changed: tuple[int, ...] = ()
    drew: bool = False


def observe(function, args, gradients=()):
    """Call function on copies of args and return its Behaviour; the caller's global random state is left alone.

    Args:
        gradients: positions of the arguments with respect to which gradients are taken.
    """
    leaves = [a.detach().clone().requires_grad_() if i in gradients else a for i, a in enumerate(args)]
    mine = tuple(map(_own, leaves))
    outside = _generators()
    torch.default_generator.manual_seed(20_231)  # the CPU's only: torch.manual_seed would reseed every device
    before = _generators()
    try:
        out = function(*mine)
        drew = any(map(_changed, before, _generators())) or getattr(function, "drew", False)
        slopes = getattr(function, "gradients", None) if gradients else []  # a stand-in reports what it saw elsewhere
        slopes = pullback(out, [leaves[i] for i in gradients]) if slopes is None else slopes
    except (Exception, SystemExit) as error:
        _locate(error, function)
        return Behaviour(error=error)
    finally:
        _generators(outside)
    changed = tuple(getattr(function, "changed", ())) or tuple(
        i for i, (a, b) in enumerate(zip(leaves, mine, strict=True)) if _changed(a, b)
    )
    several = (isinstance(out, tuple) and len(out) > 1) or (
        isinstance(out, list) and all(isinstance(v, torch.Tensor) for v in out)
    )
    values = tuple(v.detach() if isinstance(v, torch.Tensor) else v for v in [*(out if several else (out,)), *slopes])
    return Behaviour(values, None, changed, drew)


def _generators(states=None):
    """The states of the global generators of torch, numpy and Python, after they were set to ``states`` if given."""
    if states is not None:
        torch.default_generator.set_state(states[0])
        np.random.set_state(("MT19937", states[1].numpy(), *states[2]))
        random.setstate(states[3])
    _, keys, *rest = np.random.get_state()
    return torch.default_generator.get_state(), torch.from_numpy(keys.copy()), rest, random.getstate()


def _own(argument):
    """A copy that a learner's function may spoil: of tensors, and of lists with what is in them."""
    if isinstance(argument, list):
        return [_own(v) for v in argument]
    return argument.clone() if isinstance(argument, torch.Tensor) else argument


def _changed(before, after):
    """Whether an argument is no longer what it was."""
    if isinstance(before, list):
        return len(before) != len(after) or any(_changed(a, b) for a, b in zip(before, after, strict=True))
    return touched(before, after) if isinstance(before, torch.Tensor) else before is not after and before != after


def _words(error):
    """Type and text of an error without its numbers: two calls that fail in one way, on whatever sizes."""
    return type(error), re.sub(r"\d+", "#", str(error))


def _locate(error, function):
    """Note on an error the last line of the function's own file that it went through."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if own:
        error.add_note(f"in line {own[-1].lineno}: {own[-1].line}")


def _close(a, b, rtol, any_dtype=False):
    """Equal shapes and dtypes, and equal to rtol entry by entry (float32 values: to a few of their roundings).

    Words and whole numbers are equal or not.
    """
    if isinstance(b, (str, int)):
        return type(a) is type(b) and a == b
    if not isinstance(a, torch.Tensor) or (a.shape, a.device, a.layout) != (b.shape, b.device, b.layout):
        return False
    return (a.dtype == b.dtype or any_dtype) and bool(_equal(a, b, rtol).all())


def _equal(a, b, rtol):
    """Entry by entry, with the tolerance of the coarser dtype of the two."""
    atol = 1e-12
    if torch.float32 in (a.dtype, b.dtype):
        rtol, atol = max(rtol, 1e-5), 1e-6
    return torch.isclose(a.double(), b.double(), rtol=rtol, atol=atol, equal_nan=True)


def agree(a, b, rtol, values_only=False):
    """Whether two Behaviours cannot be told apart; values_only looks past dtypes, changed inputs and hidden draws."""
    if a.error is not None or b.error is not None:
        return _words(a.error) == _words(b.error)
    if len(a.values) != len(b.values) or (not values_only and (a.changed, a.drew) != (b.changed, b.drew)):
        return False
    return all(_close(x, y, rtol, values_only) for x, y in zip(a.values, b.values, strict=True))


@dataclass(frozen=True)
class Report:
    """What ``check`` found. ``function`` is the learner's own if it is right, otherwise the course's reference.

    Attributes:
        state: "not attempted", "not yet" or "right".
        fails, given, observed, required: which property, on which input; what came, what was expected ("not yet").
        args: that input itself, to call the function with while mending it.
        mistake: the known mistake it is, or None.
        partly: whether it behaves like that mistake on some inputs only.
        verified: what was verified, in the order of checking.
    """

    exercise: Exercise
    state: str
    function: Callable
    fails: str = ""
    given: str = ""
    observed: str = ""
    required: str = ""
    args: tuple = ()
    mistake: Mistake | None = None
    partly: bool = False
    verified: tuple[str, ...] = field(default=())

    def lines(self):
        """The report in sentences."""
        if self.state == "not attempted" and self.exercise.hidden:
            yield "Not written yet; cells that need it use the course's own."
        elif self.state == "not attempted":
            yield f"Nothing is wrong; the lesson goes on with dlgm's own {self.exercise.name} until you write yours."
        elif self.state == "not yet":
            yield f"This fails: {self.fails}."
            if self.given:
                yield f"Input: {self.given}"
            if self.required:
                yield f"Observed: {self.observed}"
                yield f"Required: {self.required}"
            if self.mistake:
                where = "On some inputs it behaves like this mistake" if self.partly else "The mistake"
                yield f"{where}: {self.mistake.says}"
            if self.verified:
                yield "Already right: " + "; ".join(self.verified) + "."
        else:
            yield "Verified: " + "; ".join(self.verified) + "."

    def __repr__(self):
        return "\n".join([f"{self.exercise.name}: {self.state}", *(f"  {line}" for line in self.lines())])

    def _repr_html_(self):
        colour = {"not attempted": "#7f7f7f", "not yet": "#d55e00", "right": "#009e73"}[self.state]
        body = "".join(f"<div>{html.escape(line)}</div>" for line in self.lines())
        e = self.exercise
        folds = [("Where to start", e.start), ("A hint", e.hint), ("What you should see", e.see)]
        folded = "".join(f"<details><summary>{a}</summary>{html.escape(b)}</details>" for a, b in folds)
        if e.hidden is None and self.state != "not attempted":
            source = html.escape(inspect.getsource(e.reference))
            folded += f"<details><summary>A solution</summary><pre>{source}</pre></details>"
        name = f'<code style="background:none;color:inherit;padding:0">{html.escape(e.name)}</code>'
        return (
            f'<div style="border-left:4px solid {colour};padding:2px 12px;color:var(--jp-ui-font-color1,inherit)">'
            f"<div><b>{name}: {self.state}</b></div>"
            f'{body}<div style="margin-top:6px">{folded}</div></div>'
        )


def run(exercise, function):
    """Check a learner's function: contract and values case by case, then properties; stop at the first that fails.

    What the function prints, or warns of, is shown for its first call only.

    Raises:
        ValueError: function cannot be called.
    """
    if not callable(function):
        raise ValueError(f"check needs the function itself, got {function!r}; for example check('{exercise.name}', f)")
    cases = exercise.cases(torch.Generator().manual_seed(0))
    [first] = _all(exercise, function, cases[:1])
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = [first, *_all(exercise, function, cases[1:])]
        if all(type(of.error) is NotImplementedError and not of.error.args for of in seen):  # torch's own carry a text
            return Report(exercise, "not attempted", exercise.reference)
        return _judge(exercise, function, cases, seen)


def _all(exercise, function, cases):
    """The Behaviour of function on each case."""
    names = list(_parameters(exercise))
    return [observe(function, case.args, [names.index(name) for name in exercise.gradients]) for case in cases]


@dataclass(frozen=True)
class Marks:
    """What a homework answer earned: (label, passed) for each check, and the Report in words."""

    checks: tuple[tuple[str, bool], ...]
    report: Report

    @property
    def share(self):
        """Of the checks, how many passed: a number in [0, 1]."""
        return sum(passed for _, passed in self.checks) / len(self.checks)


def mark(exercise, function, generator):
    """Marks for an answer to homework: the visible cases together are one check, each hidden case and property another.

    The visible cases and the properties, whose inputs everybody knows, count only if one of the hidden cases passes.

    Args:
        function: the student's, or a stand-in for it that runs elsewhere.
        generator: the hidden cases are drawn from it.
    """
    report = run(exercise, function)
    if report.state == "not attempted":
        labels = ["the examples shown", *(c.label for c in exercise.hidden(generator))]
        return Marks(tuple((v, False) for v in [*labels, *(p.label for p in exercise.properties)]), report)
    right = report.state == "right"  # then the cases shown and the properties have just been seen to hold
    hidden = [(c.label, _passes(exercise, function, c)) for c in exercise.hidden(generator)]
    some = any(passed for _, passed in hidden)
    shown = exercise.cases(torch.Generator().manual_seed(0))
    first = some and (right or all(_passes(exercise, function, c) for c in shown))
    last = [(p.label, some and (right or bool(_holds(p, function)[0]))) for p in exercise.properties]
    label = "the examples shown" if some else "the examples shown, which count only with a hidden case"
    checks = [(label, first), *hidden, *last]
    return Marks(tuple(checks), report)


def _passes(exercise, function, case):
    """Whether function keeps the contract and gives the reference's values on one case."""
    [got], [want] = _all(exercise, function, [case]), _all(exercise, exercise.reference, [case])
    if _contract(exercise, case, got, want):
        return False
    return all(_close(a, b, exercise.rtol) for a, b in zip(got.values, want.values, strict=True))


def _holds(item, function):
    """(holds, what was seen) of a Property; an error is one that does not hold."""
    try:
        return item.test(function)
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"


def _judge(exercise, function, cases, seen):
    """The Report on a function that was called on all cases; the first case on which it fails is told."""
    expected = _all(exercise, exercise.reference, cases)
    problems = [_contract(exercise, *of_case) for of_case in zip(cases, seen, expected, strict=True)]
    verified = [] if any(problems) else ["shape, dtype, inputs left alone, no hidden randomness"]

    def not_yet(case, fails, observed, required, own=None):
        given, args = (_describe(exercise, case), case.args) if case else ("", ())
        mistake, partly = name_mistake(exercise, function)
        words = fails, given, observed, required, args, mistake or own, partly, tuple(verified)
        return Report(exercise, "not yet", exercise.reference, *words)

    for case, got, want, problem in zip(cases, seen, expected, problems, strict=True):
        if problem:
            *words, own = problem
            return not_yet(case, *words, own or _float32(exercise, function, seen, expected))
        for name, a, b in zip(_names(exercise), got.values, want.values, strict=True):
            if not _close(a, b, exercise.rtol):
                fails, own = f"the value of {name} for {case.label}", _float32(exercise, function, seen, expected)
                if _close(a, b, 1e-5):
                    fails += ", right to about 7 digits only"
                    fails += "" if own else " (a float32 on the way, a clamp, a small number added?)"
                return not_yet(case, fails, *_first_difference(a, b, exercise.rtol), own)
    what = "values and gradients" if exercise.gradients else "values"
    verified.append(f"{what} on {len(cases)} inputs ({cases[0].label}, ..., {cases[-1].label})")
    for item in exercise.properties:
        holds, saw = _holds(item, function)
        if not holds:
            return not_yet(None, item.label, saw, item.label)
        verified.append(f"{item.label} ({saw})")
    return Report(exercise, "right", function, verified=tuple(verified))


# ---- the mistakes that every exercise knows
IN_PLACE = Mistake(
    "an input modified in place",
    "the function changes an input that it was given (+=, an operation ending in _ such as requires_grad_, an "
    "assignment to entries, the sort or pop of a list), and the caller goes on with the changed one. Make a new one.",
)
OWN_DRAW = Mistake(
    "a draw of its own",
    "the function draws random numbers itself. All randomness comes in as an argument, so that a call can be repeated.",
)
NOT_CAST = Mistake(
    "not cast to the input's dtype",
    "the numbers are right, their dtype is not: a table or constant in float64 turns a float32 input into float64. "
    "Cast it, .to(x.dtype); expand from dlgm.tensors does so.",
)
FLOAT32 = Mistake(
    "a float32 constant",
    "the formula is right, and digits are lost on the way: torch.tensor(2.0), torch.eye(3) and the like are float32, "
    "which keeps 7 digits, and so is all that is computed from them alone. Use a Python number, or say dtype=x.dtype.",
)


def _float32(exercise, function, seen, expected):
    """FLOAT32, if the values are right but for its rounding, and right altogether once it is not the default dtype."""

    def all_values(seen, holds):
        return all(
            a.error is None
            and len(a.values) == len(b.values)
            and all(holds(*v) for v in zip(a.values, b.values, strict=True))
            for a, b in zip(seen, expected, strict=True)
        )

    def near(a, b):  # measured by the largest entry: one that is nearly 0 keeps fewer digits
        if isinstance(b, (str, int)):
            return _close(a, b, 0)
        if not isinstance(a, torch.Tensor) or a.shape != b.shape or a.device != b.device or not a.numel():
            return False
        gap, size = (a.double() - b.double()).abs().max(), b.double().abs().max()
        return bool(gap <= 1e-5 * size)

    if not all_values(seen, near):
        return None
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        again = _all(exercise, function, exercise.cases(torch.Generator().manual_seed(0)))
    finally:
        torch.set_default_dtype(default)
    return FLOAT32 if all_values(again, lambda a, b: _close(a, b, exercise.rtol)) else None


def _names(exercise):
    """What the values of a Behaviour are: what the function returns, then gradients."""
    return [*exercise.returns, *(f"the gradient with respect to {name}" for name in exercise.gradients)]


def _describe(exercise, case):
    """The arguments of a case in full, where they are few."""
    if sum(v.numel() for v in case.args if isinstance(v, torch.Tensor)) > SHOWN:
        return ""
    shown = (_shown(v.tolist()) if isinstance(v, torch.Tensor) else v for v in case.args)
    return ", ".join(f"{name} = {v}" for name, v in zip(_parameters(exercise), shown, strict=True))


def _shown(values):
    """Nested lists of numbers as nested brackets: [[1.0, 2.0]] -> ((1, 2))."""
    return f"({', '.join(map(_shown, values))})" if isinstance(values, list) else f"{values:.6g}"


@functools.cache
def _fresh(exercise):
    """Fresh inputs, and the Behaviours on them of the reference and of each known mistake; they are always the same."""
    cases = exercise.cases(torch.Generator().manual_seed(1))
    known = (exercise.reference, *(m.function for m in exercise.mistakes))
    right, *wrong = [_all(exercise, function, cases) for function in known]
    return cases, right, wrong


def _finite(behaviour):
    """Whether a call ended in numbers: that two of them end in an error or in NaN says little of how."""
    values = behaviour.values if behaviour.error is None else (math.nan,)
    return all(torch.as_tensor(v).isfinite().all() for v in values if isinstance(v, (torch.Tensor, float)))


def name_mistake(exercise, function):
    """(the known mistake that function behaves like on fresh inputs or None, whether on some of them only).

    First in everything that a call shows, then in the values alone, on all inputs. Then in the values on two or more,
    and at least half, of the inputs that tell the mistake from the reference, and on more than any other mistake: code
    may make a mistake and be tied to one data shape besides. Values that are right but for rounding show no mistake.
    """
    cases, right, wrong = _fresh(exercise)
    seen = _all(exercise, function, cases)
    off = [not agree(a, b, 1e-6, True) for a, b in zip(seen, right, strict=True)]
    best, most, tied = None, 1, False
    for values_only in (False, True):
        for mistake, theirs in zip(exercise.mistakes, wrong, strict=True):
            telling = [not agree(a, b, exercise.rtol, values_only) for a, b in zip(right, theirs, strict=True)]
            same = [agree(a, b, 1e-6, values_only) for a, b in zip(seen, theirs, strict=True)]
            if all(same) and any(telling) and (any(off) or not values_only):
                return mistake, False
            hits = sum(all(v) and _finite(c) for *v, c in zip(telling, same, off, seen, strict=True))
            if values_only and 2 * hits >= sum(telling) and hits >= most:
                best, most, tied = mistake, hits, hits == most
    return (None, False) if tied else (best, best is not None)


_PLAIN = {str: "a string", int: "a whole number"}


def _contract(exercise, case, got, want):
    """(what fails, observed, required, the mistake that it is or None) for the first broken rule, or None."""
    if got.error is not None:
        where = "".join(f", {note}" for note in getattr(got.error, "__notes__", [])[-1:])
        verb = getattr(got.error, "verb", "raises")  # a call elsewhere may have ended otherwise
        seen = f"{type(got.error).__name__}: {got.error}{where}" if verb == "raises" else str(got.error)
        return f"the call for {case.label} {verb}", seen, "a value", None
    if len(got.values) == 1 and got.values[0] is None:
        wanted = ", ".join(exercise.returns)
        return f"the call for {case.label} returns nothing", "None (is a return missing?)", wanted, None
    if len(got.values) != len(want.values):
        count = len(exercise.returns)
        came = len(got.values) - (len(want.values) - count)
        return "the number of values returned", str(came), f"{count}: {', '.join(exercise.returns)}", None
    for name, a, b in zip(_names(exercise), got.values, want.values, strict=True):
        if isinstance(b, (str, int)):
            if type(a) is not type(b):
                return f"{name} for {case.label} is not {_PLAIN[type(b)]}", type(a).__name__, type(b).__name__, None
            continue
        if not isinstance(a, torch.Tensor):
            return f"{name} for {case.label} is not a tensor", type(a).__name__, "torch.Tensor", None
        if a.shape != b.shape:
            return f"the shape of {name} for {case.label}", str(tuple(a.shape)), str(tuple(b.shape)), None
        if a.device != b.device:
            return f"the device of {name} for {case.label}", str(a.device), str(b.device), None
        if a.dtype != b.dtype:
            pair = a.dtype is torch.float64 and b.dtype is torch.float32  # a whole number in float64 is another matter
            own = NOT_CAST if pair and _close(a, b, exercise.rtol, True) else None
            return f"the dtype of {name} for {case.label}", str(a.dtype), str(b.dtype), own
    if got.changed:
        name = " and ".join(list(_parameters(exercise))[i] for i in got.changed)
        return (
            f"{name} modified in place for {case.label}",
            f"the caller's {name} changed",
            "inputs left alone",
            IN_PLACE,
        )
    if got.drew:
        fails = f"the global random generator was used for {case.label}"
        return fails, "a draw", "only what is passed in", OWN_DRAW
    return None


def _parameters(exercise):
    return inspect.signature(exercise.reference).parameters


def _first_difference(a, b, rtol):
    """The first entry that differs, observed and required, with its index."""
    if not isinstance(b, torch.Tensor):
        return repr(a), repr(b)
    wrong = ~_equal(a, b, rtol)
    index = tuple(wrong.nonzero()[0].tolist()) if wrong.any() else ()
    where = f" at [{', '.join(map(str, index))}]" if index else ""
    values = [v[index].item() for v in (a, b)]
    digits = 6
    if math.isfinite(values[0]) and values[0] != values[1]:
        gap = abs(values[0] - values[1]) / max(abs(values[0]), abs(values[1]))
        digits = min(17, max(6, 2 - math.floor(math.log10(gap))))
    return tuple(f"{v:.{digits}g}{where}" for v in values)
