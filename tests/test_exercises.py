"""The checks are themselves checked: every known mistake is rejected and named, every right answer passes."""

import importlib
import inspect
import math
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import torch
from right_answers.the_diffusion_kernel import alpha_bar_loop, cosine_loop, q_transition_product

from dlgm import exercises
from dlgm.exercises import bank, check, engine, modules, of
from dlgm.exercises.__main__ import main
from dlgm.exercises.engine import FLOAT32, IN_PLACE, NOT_CAST, OWN_DRAW, Case, Exercise, edited, mistakes, run

EXERCISES = bank()
IN_BANK = [pytest.param(e, id=f"{module}-{e.name}") for module in modules() for e in of(module)]
MISTAKES = [
    pytest.param(e, m, id=f"{module}-{e.name}-{m.name}") for module in modules() for e in of(module) for m in e.mistakes
]
RIGHT = {}
for module in modules():
    RIGHT |= importlib.import_module(f"right_answers.{module}").RIGHT


@pytest.mark.parametrize("exercise, mistake", MISTAKES)
def test_each_known_mistake_is_rejected_and_named_as_itself(exercise, mistake):
    report = check(exercise.name, mistake.function)
    assert report.state == "not yet", f"{mistake.name!r} is accepted as right: it is no mistake, or no input shows it"
    named = report.mistake.name if report.mistake else "nothing"
    assert report.mistake is mistake and not report.partly, f"{mistake.name!r} is taken for {named!r}: tell them apart"
    assert report.function is exercise.reference
    assert mistake.says in repr(report) and report.fails in repr(report)


@pytest.mark.parametrize("exercise", IN_BANK)
def test_the_reference_and_at_least_two_other_right_answers_pass(exercise):
    assert len(RIGHT.get(exercise.name, ())) >= 2, f"tests/right_answers needs two answers for {exercise.name}"
    for solution in (exercise.reference, *RIGHT[exercise.name]):
        report = check(exercise.name, solution)
        assert report.state == "right", repr(report)
        assert report.function is solution


@pytest.mark.parametrize("exercise", IN_BANK)
def test_an_untouched_stub_is_not_attempted(exercise):
    def stub(*args):
        raise NotImplementedError

    report = check(exercise.name, stub)
    assert report.state == "not attempted" and report.function is exercise.reference
    words = "Not written yet" if report.exercise.hidden else "Nothing is wrong"
    assert "not attempted" in repr(report) and words in repr(report)


@pytest.mark.parametrize("exercise", IN_BANK)
@pytest.mark.parametrize("null", [lambda *a: a[0] * 0, lambda *a: a[0], lambda *a: None, lambda *a: 1.0])
def test_null_answers_are_wrong(exercise, null):
    assert check(exercise.name, null).state == "not yet"


@pytest.mark.parametrize("exercise", IN_BANK)
def test_a_changed_input_and_a_draw_of_its_own_are_named_by_the_engine(exercise):
    """The input that changed is named, also where it is not the first."""
    [first, *_] = exercise.cases(torch.Generator().manual_seed(0))
    place = [i for i, v in enumerate(first.args) if isinstance(v, torch.Tensor) and v.numel()]
    if place:
        name = list(inspect.signature(exercise.reference).parameters)[place[-1]]

        def writes(*args):
            out = exercise.reference(*(a.clone() if isinstance(a, torch.Tensor) else a for a in args))
            last = args[place[-1]].data
            last.logical_not_() if last.dtype is torch.bool else last.zero_().sub_(1)
            return out

        report = check(exercise.name, writes)
        assert report.mistake is IN_PLACE and report.fails.startswith(f"{name} modified in place"), report

    def draws(*args):
        torch.rand(1)
        return exercise.reference(*args)

    assert check(exercise.name, draws).mistake is OWN_DRAW


def test_a_mistake_tied_to_one_data_shape_is_still_named():
    """Code that takes only (B, D) in float64 and lacks a root: the failing call is reported and the root named."""

    def tied(alpha_bar, x0, t, eps):
        return alpha_bar[t][:, None] * x0 + (1 - alpha_bar[t]).sqrt()[:, None] * eps

    report = check("q_sample", tied)
    assert report.state == "not yet" and report.mistake.name == "square root missing on the signal"
    assert report.partly and "On some inputs it behaves like this mistake: " in repr(report)


def test_agreement_on_half_of_the_inputs_is_said_to_be_that_and_a_tie_names_nothing():
    """|x| and x² are the truth for x = 1 and wrong for −1, −2, 3, ...; an answer may look like either, or like both."""
    inputs = [torch.tensor([v], dtype=torch.float64) for v in (-1.0, -2.0, -3.0, -4.0)]
    exercise = Exercise(
        equation="", reference=_same, returns=("y",), start="", hint="", see="",
        cases=lambda g: [Case(f"{v.item()}", (v,)) for v in inputs],
        mistakes=mistakes(_same, ("size", "size", (" + 0.0", ".abs()")), ("zero", "zero", (" + 0.0", " * 0"))),
    )  # fmt: skip
    report = run(exercise, lambda x: x.abs() if x > -3.5 else x - 1)  # three of four
    assert report.mistake.name == "size" and report.partly
    assert run(exercise, lambda x: x.abs() if x > -2.5 else x * 0).mistake is None  # two of four, each
    assert run(exercise, lambda x: x.abs() if x > -1.5 else x - 1).mistake is None  # one of four
    assert not run(exercise, torch.abs).partly


def test_values_on_the_first_input_come_before_a_crash_on_a_later_one():
    first, *_ = EXERCISES["alpha_bar"].cases(torch.Generator())

    def wrong_then_crashes(betas):
        if len(betas) > len(first.args[0]):
            raise IndexError("later")
        return alpha_bar_loop(betas) + 1

    report = check("alpha_bar", wrong_then_crashes)
    assert report.fails == f"the value of alpha_bar for {first.label}" and torch.equal(report.args[0], first.args[0])


def test_the_solution_is_folded_away_until_the_first_attempt():
    def stub(betas):
        raise NotImplementedError

    assert "A solution" not in check("alpha_bar", stub)._repr_html_()
    assert "A solution" in check("alpha_bar", lambda b: b)._repr_html_()


def _same(x):
    return x + 0.0


def test_an_edit_must_fit_once_and_shows_its_source():
    shifted = edited(_same, ("0.0", "1.0"))
    assert shifted(2) == 3.0 and "x + 1.0" in inspect.getsource(shifted)
    with pytest.raises(ValueError, match="'nothing' stands 0 times in _same, expected once"):
        edited(_same, ("nothing", "1"))
    with pytest.raises(ValueError, match="'x' stands 2 times"):
        edited(_same, ("x", "y"))
    with pytest.raises(ValueError, match="is no Python"):
        edited(_same, ("x + 0.0", "x +"))


def test_a_module_of_the_bank_is_loaded_when_it_is_asked_for():
    code = (
        "import sys; from dlgm.exercises import check, modules; check('alpha_bar', lambda b: b);"
        "print([m for m in modules() if f'dlgm.exercises.{m}' in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "['the_diffusion_kernel']"
    assert len(bank()) == sum(len(of(m)) for m in exercises.modules())  # no name twice


def test_the_report_says_what_was_observed_on_the_smallest_input():
    wrong = {m.name: m.function for m in EXERCISES["alpha_bar"].mistakes}["without the product"]
    report = check("alpha_bar", wrong)
    assert report.fails == "the value of alpha_bar for T = 4, β = (0.1, 0.25, 0.4, 0.6)"
    assert (report.observed, report.required) == ("0.75 at [2]", "0.675 at [2]")


def test_errors_and_missing_returns_are_told_apart():
    def crashes(alpha_bar, x0, t, eps):
        return x0 @ torch.ones(7)

    assert "RuntimeError" in check("q_sample", crashes).observed
    assert "return" in check("q_sample", lambda *a: None).observed
    assert check("q_transition", lambda a, x, s, t: x).fails == "the number of values returned"


def test_checking_leaves_the_learners_world_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    check("q_sample", lambda alpha_bar, x0, t, eps: torch.randn_like(x0))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_report_is_the_same_every_time():
    for exercise, mistake in (p.values for p in MISTAKES[::5]):
        assert repr(run(exercise, mistake.function)) == repr(run(exercise, mistake.function))


class Tags(HTMLParser):
    """Counts opened and closed tags and collects the text."""

    def __init__(self):
        super().__init__()
        self.depth, self.text, self.seen = 0, "", set()

    def handle_starttag(self, tag, attrs):
        self.depth += 1
        self.seen.add(tag)

    def handle_endtag(self, tag):
        self.depth -= 1

    def handle_data(self, data):
        self.text += data


def test_html_is_balanced_escaped_and_holds_hints_and_solution():
    def hostile(betas):
        raise RuntimeError("<script>alert(1)</script>")

    for function in (hostile, EXERCISES["alpha_bar"].reference):
        page = Tags()
        page.feed(check("alpha_bar", function)._repr_html_())
        assert page.depth == 0 and "script" not in page.seen
        for part in ("Where to start", "A hint", "What you should see", "A solution", "torch.cumprod(alpha, dim=0)"):
            assert part in page.text


def test_bad_calls_are_named():
    with pytest.raises(ValueError, match="no exercise is called 'q_sampel'; there is q_sample"):
        check("q_sampel", lambda: 0)
    with pytest.raises(ValueError, match="needs the function itself"):
        check("q_sample", torch.zeros(3))


@pytest.mark.parametrize(
    "name, answer, word",
    [
        ("alpha_bar", lambda b: alpha_bar_loop(b).numpy(), "not a tensor"),
        ("cosine_betas", lambda T, s, m: cosine_loop(T, s, m).tolist(), "not a tensor"),
        ("q_sample", lambda a, x, t, e: (x, e), "number of values"),
        ("q_sample", lambda a, x, t, e: {"x_t": x}, "not a tensor"),
    ],
)
def test_unusual_return_values_get_a_sentence(name, answer, word):
    report = check(name, answer)
    assert report.state == "not yet" and word in report.fails


def test_an_answer_in_words_is_compared_as_it_is():
    exercise = Exercise(
        equation="", reference=lambda x: "up" if x > 0 else "down", returns=("way",), start="", hint="", see="",
        cases=lambda g: [Case(f"{x}", (x,)) for x in (1.0, -1.0, -2.0)],
        mistakes=(engine.Mistake("always up", "always up.", lambda x: "up"),),
    )  # fmt: skip
    assert run(exercise, lambda x: "down" if x < 0 else "up").state == "right"
    report = run(exercise, lambda x: "up")
    assert (report.observed, report.required) == ("'up'", "'down'") and report.mistake.name == "always up"
    assert report.fails == "the value of way for -1.0"
    for wrong, seen in ((lambda x: torch.tensor(x), "Tensor"), (lambda x: x, "float"), (lambda x: None, "None")):
        report = run(exercise, wrong)
        assert report.state == "not yet" and report.mistake is None and seen in report.observed
    assert check("alpha_bar", lambda b: "up").observed == "str"


def test_a_list_of_mean_and_variance_and_a_graph_are_fine():
    def as_list(alpha_bar, x_s, s, t):
        return list(q_transition_product(alpha_bar, x_s.requires_grad_(False), s, t))

    assert check("q_transition", as_list).state == "right"
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    assert check("alpha_bar", lambda b: weight * alpha_bar_loop(b)).state == "right"


def _named(x):
    return "even" if x % 2 == 0 else "odd", x // 2


def test_words_and_whole_numbers_are_values_too():
    exercise = Exercise(
        equation="", reference=_named, returns=("kind", "half"), start="", hint="", see="",
        cases=lambda g: [Case(f"{x}", (x,)) for x in (4, 7, 9)],
        mistakes=mistakes(_named, ("turned round", "kinds turned round.", ("x % 2 == 0", "x % 2"))),
    )  # fmt: skip
    assert run(exercise, lambda x: (("even", "odd")[x % 2], (x - x % 2) // 2)).state == "right"
    report = run(exercise, lambda x: (("odd", "even")[x % 2], x // 2))
    assert report.mistake.name == "turned round" and (report.observed, report.required) == ("'odd'", "'even'")
    report = run(exercise, lambda x: (_named(x)[0], x / 2))
    assert report.fails == "half for 4 is not a whole number" and (report.observed, report.required) == ("float", "int")
    assert run(exercise, lambda x: (torch.tensor(x), x // 2)).fails == "kind for 4 is not a string"
    report = run(exercise, lambda x: (_named(x)[0], x // 2 + 1))
    assert (report.observed, report.required, report.mistake) == ("3", "2", None)


def test_a_tuple_of_one_is_not_the_value_in_it():
    report = check("alpha_bar", lambda b: (alpha_bar_loop(b),))
    assert report.state == "not yet" and "is not a tensor" in report.fails and report.observed == "tuple"


def test_float32_inside_is_told_from_a_wrong_formula():
    report = check("alpha_bar", lambda b: alpha_bar_loop(b.float()).double())
    assert report.state == "not yet" and "about 7 digits only" in report.fails
    report = check("std_of_sum", lambda a, b: (a**2 + b**2) * torch.tensor(1 / 3) / (1 / 3) / (a**2 + b**2).sqrt())
    assert report.mistake is FLOAT32 and "about 7 digits only" in report.fails
    report = check("std_of_sum", lambda a, b: (a**2 + b**2 + 1e-7).sqrt())
    assert report.mistake is None and "a small number added?" in report.fails
    assert torch.get_default_dtype() is torch.float32


def test_a_result_in_another_dtype_is_named():
    report = check("q_sample", lambda a, x, t, e: EXERCISES["q_sample"].reference(a, x.double(), t, e.double()))
    assert report.mistake is NOT_CAST and report.fails.startswith("the dtype of")


def test_asking_for_gradients_of_an_input_counts_as_changing_it():
    def answer(betas):
        betas.requires_grad_()
        return alpha_bar_loop(betas)

    assert check("alpha_bar", answer).fails.startswith("betas modified in place")


def test_a_slip_in_precision_is_not_taken_for_a_mistake_that_equals_the_truth_on_some_inputs():
    """On the first two inputs the mistake is the truth; an answer in float32 must not be called by its name."""
    inputs = [torch.tensor([v], dtype=torch.float64) for v in (1.3, 2.7, -0.7)]
    exercise = Exercise(
        equation="", reference=_same, returns=("y",), start="", hint="", see="",
        cases=lambda g: [Case(f"{v.item()}", (v,)) for v in inputs],
        mistakes=mistakes(_same, ("size", "size", torch.abs)),
    )  # fmt: skip
    assert run(exercise, lambda x: x.float()).mistake is None
    assert run(exercise, lambda x: x.float().double()).mistake is None
    assert run(exercise, lambda x: x.abs()).mistake.name == "size"


def _root(x, w):
    return x.sqrt() * w, x + w


def test_gradients_are_compared_where_an_exercise_asks_for_them():
    """∂(Σ_i w_i y_i)/∂x of (√x w, x + w), w = 1, 2: values alone cannot tell a draw that is cut from its parameters."""
    x, w = torch.tensor([4.0, 9.0], dtype=torch.float64), torch.tensor([1.0, 3.0], dtype=torch.float64)
    exercise = Exercise(
        equation="", reference=_root, returns=("y", "z"), start="", hint="", see="", gradients=("x", "w"),
        cases=lambda g: [Case("two numbers", (x, w)), Case("one", (x[:1], w[:1]))],
        mistakes=mistakes(_root, ("cut", "the graph is cut.", ("return", "x, w = x.detach(), w.detach()\n    return"))),
    )  # fmt: skip
    assert run(exercise, lambda x, w: (x**0.5 * w, w + x)).state == "right"

    def cut(x, w):
        with torch.no_grad():
            return _root(x, w)

    report = run(exercise, cut)
    assert report.mistake.name == "cut" and "gradient with respect to x" in report.fails
    assert (report.observed, report.required) == ("0 at [0]", "1.25 at [0]")  # 1/(2·2)·1·1 + 1
    report = run(exercise, lambda x, w: (x.sqrt() * w.detach(), x + w))
    assert "gradient with respect to w" in report.fails and report.mistake is None
    report = run(exercise, lambda x, w: x)
    assert (report.observed, report.required) == ("1", "2: y, z")
    assert "modified in place" in run(exercise, lambda x, w: (x.sqrt_() * w, x**2 + w)).fails


def test_the_line_of_an_error_and_the_input_are_there_to_work_with():
    def answer(alpha_bar, x0, t, eps):
        y = x0 * 2
        return y @ eps.reshape(-1, 7)

    report = check("q_sample", answer)
    assert "RuntimeError" in report.observed and report.observed.endswith(": return y @ eps.reshape(-1, 7)")
    with pytest.raises(RuntimeError):
        answer(*report.args)


def test_small_inputs_are_shown_and_only_the_first_call_prints(capsys):
    def chatty(alpha_bar, x0, t, eps):
        print("called with", tuple(x0.shape))
        return x0

    report = check("q_sample", chatty)
    assert report.given.startswith("alpha_bar = (1, 0.9, 0.675, 0.405, 0.162), x0 = (") and report.given in repr(report)
    assert capsys.readouterr().out.count("called with") == 1


def test_an_upside_down_ratio_is_not_taken_for_a_shift():
    def upside_down(T, s, max_beta):
        f = torch.cos((torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s) * math.pi / 2) ** 2
        return (1 - f[:-1] / f[1:]).clamp(max=max_beta)

    assert check("cosine_betas", upside_down).mistake.name == "ratio upside down"


def test_errors_of_the_learners_own_code_are_not_taken_for_an_untouched_stub():
    assert check("q_sample", lambda *a: torch.randn(3, dtype=torch.long)).state == "not yet"
    assert check("q_sample", lambda *a: exit()).state == "not yet"
    assert check("alpha_bar", lambda b: alpha_bar_loop(b).to("meta")).state == "not yet"


def test_right_values_with_a_stray_draw_or_a_failing_property_are_not_right():
    def draws(betas):
        torch.rand(1)
        return alpha_bar_loop(betas)

    assert "global random generator" in check("alpha_bar", draws).fails

    known = {len(c.args[0]) for c in EXERCISES["std_of_sum"].cases(torch.Generator())}

    def overfitted(a, b):
        return torch.hypot(a, b) if a[0] != 1.5 else a + b

    assert known == {1, 5}
    report = check("std_of_sum", overfitted)
    assert report.state == "not yet" and "sampled sums" in report.fails

    def raises(a, b):
        if a[0] == 1.5:
            raise KeyError("surprise")
        return torch.hypot(a, b)

    assert "KeyError" in check("std_of_sum", raises).observed


def test_a_gradient_cut_at_z_is_rejected_with_the_reason():
    """No known mistake can name it, since values agree; the property that fails says what cut the gradient."""
    report = check("reparameterize", lambda mean, logvar, eps: (mean + (0.5 * logvar).exp() * eps).detach())
    assert report.state == "not yet" and "detach" in report.observed and "gradient" in report.fails


def test_a_loop_over_the_points_is_refused_where_the_lesson_asks_for_none():
    mixture_score = EXERCISES["mixture_score"].reference

    def loop(x, weights, means, variances):
        return torch.cat([mixture_score(row[None], weights, means, variances) for row in x])

    report = check("mixture_score", loop)
    assert report.state == "not yet" and "no loop over the points" in report.fails and "a loop" in report.observed


@pytest.mark.parametrize("exercise", IN_BANK)
def test_mistakes_have_names_of_their_own_and_are_code_that_runs(exercise):
    names = [m.name for m in exercise.mistakes]
    assert len(set(names)) == len(names)
    _, _, wrong = engine._fresh(exercise)
    for mistake, seen in zip(exercise.mistakes, wrong, strict=True):
        assert not any(isinstance(b.error, (NameError, SyntaxError)) for b in seen), mistake.name


def test_a_row_that_is_no_mistake_is_named():
    for row in (("a", "says"), ("a", "says", ("only one",)), ("a", "says", [("x", "y")]), ("a", "says", ("zz", "y"))):
        with pytest.raises(ValueError, match="the mistake 'a' of _same"):
            mistakes(_same, row)


def test_the_table_takes_lessons_and_exercises_and_answers_others_in_a_sentence(capsys):
    assert main(["start_here"]) == 0 and main(["std_of_sum"]) == 0
    assert "| yes |" in capsys.readouterr().out
    assert main(["std_of_sim"]) == 2 and "there is std_of_sum" in capsys.readouterr().err


def test_a_list_that_is_emptied_or_sorted_is_named_and_harms_no_one():
    """What a learner does to a list argument stays with the learner, and is told."""
    from dlgm.exercises.engine import Case, Exercise, observe

    def largest(values):
        return torch.tensor(max(values))

    def spoiled(values):
        values.sort()
        return torch.tensor(values[-1])

    def emptied(values):
        best = values.pop()
        while values:
            best = max(best, values.pop())
        return torch.tensor(best)

    numbers = [3.0, 1.0, 2.0]
    for function in (spoiled, emptied):
        seen = observe(function, (numbers,))
        assert numbers == [3.0, 1.0, 2.0] and seen.changed == (0,)
    tensors = [torch.zeros(2), torch.ones(2)]
    seen = observe(lambda values: values[0].add_(1), (tensors,))
    assert seen.changed == (0,) and tensors[0].sum() == 0
    assert observe(largest, (numbers,)).changed == ()
    exercise = Exercise(
        equation="the largest", reference=largest, returns=("best",), cases=lambda g: [Case("three", (numbers,))],
        mistakes=(), start="", hint="", see="",
    )  # fmt: skip
    assert "values" in str(run(exercise, emptied)) and run(exercise, emptied).state == "not yet"
