"""Every formula of every deck, evaluated in that deck's own letters. Ledger "Notation across the seeds".

MEANS is a second transcription of the ledger's table, from letters to meanings, where dlgm.course.notation goes from
quantities to letters. ``Reader`` evaluates the LaTeX; a letter that the deck does not have stops it.
"""

import functools
import math
import re
import subprocess
import sys

import pytest
import torch
from matplotlib.mathtext import MathTextParser

from dlgm.course import notation
from dlgm.course.notation import (
    CONVERSIONS,
    DECKS,
    FORMULAS,
    SYMBOLS,
    appears,
    compare,
    formula,
    from_course,
    note,
    to_course,
)
from dlgm.parameterization import mean_from_eps, score_from_eps, x0_from_eps
from dlgm.process import q_marginal, q_posterior, q_sample, q_transition, tau
from dlgm.schedules import DiscreteSchedule

CHAIN = DiscreteSchedule([0.1, 0.25, 0.4, 0.6])  # no term is negligible
X0, EPS, EPS_NET, X_S = 0.7, -1.3, 0.45, -0.35
TOLERANCE = 1e-12  # a few float64 roundings; a wrong letter is off by more than 1e-3

PLAIN = {"x_0": "x0", "x_t": "x_t", "x_{t-1}": "x_s", r"\epsilon": "eps", r"\epsilon_\theta(x_t, t)": "eps_net"}
BARS = {r"\bar{\alpha}_t": "alpha_bar", r"\bar{\alpha}_{t-1}": "alpha_bar_prev"}
POSTERIOR = {r"\tilde{\beta}_t": "posterior_variance", r"\tilde{\mu}_t": "posterior_mean"}
SCALES = {r"\alpha_t": "signal", r"\sigma_t": "noise", r"\lambda_t": "logsnr"}
MEANS = {  # deck -> letter -> what it means, by the ledger
    "course": PLAIN
    | BARS
    | POSTERIOR
    | {r"\beta_t": "beta", r"\alpha_t": "alpha", r"\lambda(t)": "logsnr", r"\hat{x}_\theta(x_t, t)": "x0_net"}
    | {r"\tau": "tau", r"\alpha(t)": "signal", r"\alpha(s)": "signal_s", r"\sigma(t)": "noise", "x_s": "x_s"}
    | {r"\lambda(s)": "logsnr_s"},
    "000": PLAIN | BARS | POSTERIOR | {r"\beta_t": "beta"},
    "000 continuous": PLAIN | SCALES | {r"\alpha_{t-1}": "signal_s", r"\sigma_{t-1}": "noise_s"},
    "000 distillation": SCALES
    | {"x": "x0", "z_t": "x_t", "z_s": "x_s", r"\epsilon": "eps", r"\hat{x}_\theta(z_t)": "x0_net"}
    | {r"\alpha_s": "signal_s", r"\sigma_s": "noise_s"},
    "001": {"x": "x0", "z_t": "x_t", "z_{t-1}": "x_s", r"\epsilon_t": "eps", r"\epsilon_\theta(z_t, t)": "eps_net"}
    | {r"\alpha_t": "alpha_bar", r"\alpha_{t-1}": "alpha_bar_prev", r"\beta_t": "beta"}
    | {
        r"\mathbb{E}[z_{t-1} \mid z_t, x]": "posterior_mean",
        r"\mathrm{Var}[z_{t-1} \mid z_t, x]": "posterior_variance",
    },
    "002": PLAIN | BARS | POSTERIOR | {r"\beta_t": "beta", r"\alpha_t": "alpha"},
    "002 DDIM": {"x_0": "x0", "x_t": "x_t", "x_{t-1}": "x_s", r"\epsilon": "eps"}
    | {r"\alpha_t": "alpha_bar", r"\alpha_{t-1}": "alpha_bar_prev"}
    | {r"\epsilon_\theta^{(t)}(x_t)": "eps_net", r"f_\theta^{(t)}(x_t)": "x0_net"},
    "003": {"x_0": "x0", "x_t": "x_t", "x_{t-1}": "x_s", r"\epsilon_0": "eps"}
    | BARS
    | {r"\alpha_t": "alpha", r"\mu_q": "posterior_mean", r"\sigma_q^2(t)": "posterior_variance"}
    | {r"\hat{\epsilon}_\theta(x_t, t)": "eps_net", r"\hat{x}_\theta(x_t, t)": "x0_net"},
    "004": PLAIN
    | BARS
    | {r"\alpha_t": "alpha", r"\tilde{\mu}_q": "posterior_mean", r"\sigma_t^2": "posterior_variance"}
    | {r"x_\theta^{(0)}(x_t, t)": "x0_net"},
}
FORWARD_LAW = dict.fromkeys(DECKS, "q") | {"002 DDIM": r"q_\sigma", "004": r"q_\phi"}
PAIRS = [(name, deck) for name in FORMULAS for deck in DECKS if appears(name, deck)]


def scalar(x):
    return torch.tensor([x], dtype=torch.float64)


@functools.cache
def values(t, step="step"):
    """Meaning -> number at time t of CHAIN, each from dlgm; step says which formula defines x_s."""
    s, x0, eps = t - 1, scalar(X0), scalar(EPS)
    x_t = q_sample(CHAIN, x0, t, eps)
    x0_net = x0_from_eps(CHAIN, x_t, scalar(EPS_NET), t)
    posterior = q_posterior(CHAIN, x_t, x0, s, t)
    x_s = q_sample(CHAIN, x0_net, s, scalar(EPS_NET)) if step.startswith("ddim") else scalar(X_S)
    out = {"x0": x0, "eps": eps, "x_t": x_t, "x_s": x_s, "x0_net": x0_net, "eps_net": EPS_NET}
    out |= {"posterior_mean": posterior.mean, "posterior_variance": posterior.var, "tau": tau(CHAIN, s, t)}
    out |= {"beta": CHAIN.beta[t], "alpha": CHAIN.alpha[t]}
    out |= {"alpha_bar": CHAIN.alpha_bar[t], "alpha_bar_prev": CHAIN.alpha_bar[s]}
    out |= {"signal": CHAIN.signal(t), "noise": CHAIN.noise(t), "logsnr": CHAIN.logsnr(t)}
    out |= {"signal_s": CHAIN.signal(s), "noise_s": CHAIN.noise(s), "logsnr_s": CHAIN.logsnr(s)}
    return {k: float(v) for k, v in out.items()}


class Reader:
    """The number a LaTeX expression stands for: sums, products, \\frac, \\sqrt, powers, \\log, \\prod."""

    def __init__(self, latex, letters, at=None):
        self.rest, self.letters, self.at = latex, letters, at
        self.names = sorted(letters, key=len, reverse=True)

    @classmethod
    def number(cls, latex, deck, t, step="step"):
        meanings = MEANS[deck]

        def letters(i):
            return {letter: values(i, step)[meaning] for letter, meaning in meanings.items()}

        reader = cls(latex, letters(t), lambda body: math.prod(cls(body, letters(i)).all() for i in range(1, t + 1)))
        return reader.all()

    def all(self):
        result = self.sum()
        assert not self.rest, f"cannot read {self.rest!r}"
        return result

    def take(self, *words):
        """Whether the text goes on with one of the words, which is then read; space is skipped."""
        self.rest = re.sub(r"^(\s|\\,|\\ )+", "", self.rest)
        for word in words:
            if self.rest.startswith(word):
                self.rest = self.rest[len(word) :]
                return word
        return None

    def sum(self):
        total = -self.product() if self.take("-") else self.product()
        while sign := self.take("+", "-"):
            total += self.product() if sign == "+" else -self.product()
        return total

    def product(self):
        result = self.power()
        while self.take("") == "" and not re.match(r"[-+})]|\\Vert|$", self.rest):
            result *= self.power()
        return result

    def power(self):
        base = self.atom()
        if self.take("^"):
            return base ** (self.group() if self.take("{") else self.digit())
        return base

    def group(self, end="}"):
        result = self.sum()
        assert self.take(end), f"expected {end} at {self.rest!r}"
        return result

    def digit(self):
        digit, self.rest = self.rest[0], self.rest[1:]
        return float(digit)

    def atom(self):
        if letter := self.take(*self.names):
            return self.letters[letter]
        if self.take(r"\frac{"):
            top = self.group()
            assert self.take("{")
            return top / self.group()
        if self.take(r"\sqrt{"):
            return math.sqrt(self.group())
        if self.take(r"\log"):
            return math.log(self.product())
        if self.take(r"\prod_{i=1}^{t}"):
            body, self.rest = self.rest, ""
            return self.at(body.replace("_i", "_t"))
        if self.take(r"\Vert"):
            return abs(self.group(r"\Vert"))
        if self.take("("):
            return self.group(")")
        if self.take("e^{"):
            return math.exp(self.group())
        assert self.rest and self.rest[0].isdigit(), f"cannot read {self.rest!r}"
        return self.digit()


def same(a, b):
    assert abs(a - b) <= TOLERANCE * max(1, abs(b)), (a, b)


def check_law(name, deck, t, left, right):
    """q(a | b) = N(mean, variance I): which variables they are, and both numbers."""
    law, a, b = re.fullmatch(r"(.+?)\((.+) \\mid (.+)\)", left).groups()
    meaning = MEANS[deck]
    assert (law, meaning[a], meaning[b]) == (FORWARD_LAW[deck], "x_t", "x0" if name == "kernel" else "x_s")
    mean, variance = re.fullmatch(r"\\mathcal\{N\}\((.+),\\ (.+)\\,\\mathbf\{I\}\)", right).groups()
    expected = q_marginal(CHAIN, scalar(X0), t) if name == "kernel" else q_transition(CHAIN, scalar(X_S), t - 1, t)
    same(Reader.number(mean, deck, t), expected.mean.item())
    same(Reader.number(variance, deck, t), float(expected.var))


def check_loss(deck, t, right):
    """E over t, x_0 and ε of a square: the subscript names them, and the square is (ε − ε_θ)²."""
    over, square = re.fullmatch(r"\\mathbb\{E\}_\{t, (.+)\} (.+)", right).groups()
    assert [MEANS[deck][letter] for letter in over.split(", ")] == ["x0", "eps"]
    same(Reader.number(square, deck, t), (EPS - EPS_NET) ** 2)


def check_score(deck, t, left, rights):
    variable, law, a, b = re.fullmatch(r"\\nabla_\{(.+?)\} \\log (.+?)\((.+) \\mid (.+)\)", left).groups()
    assert [law, *(MEANS[deck][v] for v in (variable, a, b))] == [FORWARD_LAW[deck], "x_t", "x_t", "x0"]
    x_t = q_sample(CHAIN, scalar(X0), t, scalar(EPS)).requires_grad_()
    (gradient,) = torch.autograd.grad(q_marginal(CHAIN, scalar(X0), t).log_prob(x_t).sum(), x_t)
    for right in rights:
        same(Reader.number(right, deck, t), gradient.item())
    same(score_from_eps(CHAIN, x_t, scalar(EPS), t).item(), gradient.item())


def check(name, latex, deck, t):
    """Every equation of a formula holds with the deck's letters at time t, or an AssertionError, KeyError, ..."""
    for equation in latex.split(r",\quad "):
        left, *rights = equation.split(" = ")
        if r"\nabla" in left:
            check_score(deck, t, left, rights)
        elif r"\mathcal{N}" in rights[0]:
            check_law(name, deck, t, left, rights[0])
        elif left.startswith("L_"):
            check_loss(deck, t, rights[0])
        else:
            assert left in MEANS[deck]
            same(Reader.number(left, deck, t, name), Reader.number(rights[0], deck, t, name))


@pytest.mark.parametrize("deck", DECKS)
def test_every_formula_holds_in_the_decks_own_letters(deck):
    """Both sides of each equation agree at every t of the T = 4 chain, and with what dlgm computes."""
    for name in FORMULAS:
        if appears(name, deck):
            for t in range(1, 5):
                check(name, formula(name, deck), deck, t)


@pytest.mark.parametrize("deck", DECKS)
def test_one_wrong_letter_is_noticed(deck):
    """In each formula, each letter in turn is replaced by each other letter of the deck: the check refuses them all."""
    letters = sorted(MEANS[deck], key=len, reverse=True)
    anyone = re.compile("|".join(map(re.escape, letters)))
    tried = 0
    for name in FORMULAS:
        if not appears(name, deck):
            continue
        latex = formula(name, deck)
        check(name, latex, deck, 3)
        for found in anyone.finditer(latex):
            for other in letters:
                if MEANS[deck][other] == MEANS[deck][found[0]]:
                    continue
                tried += 1
                with pytest.raises((AssertionError, KeyError, AttributeError, ValueError, ZeroDivisionError)):
                    check(name, latex[: found.start()] + other + latex[found.end() :], deck, 3)
    assert tried > 200


@pytest.mark.parametrize("deck", DECKS)
def test_every_coefficient_of_the_table_has_its_number(deck):
    """The rows of the table that stand for numbers, at each t; also those that no formula of the deck uses."""
    rows = {"beta", "alpha", "alpha_bar", "alpha_bar_prev", "signal", "noise", "noise_var", "logsnr"}
    rows |= {"signal_prev", "noise_prev", "noise_var_prev", "posterior_variance", "posterior_mean", "tau"}
    for t in range(1, 5):
        v = values(t)
        v |= {"signal_prev": v["signal_s"], "noise_prev": v["noise_s"]}
        v |= {"noise_var": v["noise"] ** 2, "noise_var_prev": v["noise_s"] ** 2}
        for key in rows:
            if latex := notation.translate(key, deck):
                same(Reader.number(latex, deck, t), v[key])


def test_networks_take_the_noisy_state_of_their_deck():
    for key in ("mean_net", "eps_net", "x0_net", "score_net"):
        for deck in DECKS:
            arguments = re.search(r"\(([^()]+)\)$", notation.translate(key, deck) or "")
            assert not arguments or arguments[1].split(",")[0] == notation.translate("x_t", deck)


def test_the_reader_knows_the_values_it_is_given():
    """The evaluator against a number worked out by hand: ᾱ_3 = .9·.75·.6 and the coefficient of x_0 at t = 3."""
    same(Reader.number(r"\bar{\alpha}_t", "course", 3), 0.9 * 0.75 * 0.6)
    same(
        Reader.number(r"\frac{\sqrt{\bar{\alpha}_{t-1}}\,\beta_t}{1-\bar{\alpha}_t}", "course", 3),
        math.sqrt(0.675) * 0.4 / 0.595,
    )
    same(Reader.number(r"-\frac{1}{\sqrt{1-\alpha_t}}(x - 2\,x)^2", "001", 2), -(X0**2) / math.sqrt(1 - 0.9 * 0.75))
    x_t = q_sample(CHAIN, scalar(X0), 3, scalar(EPS))
    assert values(3)["posterior_mean"] == pytest.approx(mean_from_eps(CHAIN, x_t, scalar(EPS), 2, 3).item(), rel=1e-13)
    with pytest.raises(AssertionError, match="cannot read"):
        Reader.number(r"\bar{\alpha}_t", "001", 3)


PRINTED = {  # erratum -> formula, deck, the printed coefficient, the one in formula()
    "E-01": ("posterior_mean", "004", 0, r"\frac{\sqrt{\bar{\alpha}_{t-1}}\,(1-\alpha_t)}{1-\bar{\alpha}_t}"),
    "E-02": ("posterior_mean", "004", 1, r"\frac{\sqrt{\alpha_t}\,(1-\bar{\alpha}_{t-1})}{1-\bar{\alpha}_t}"),
    "E-03": ("mean_from_noise", "004", 0, r"\frac{1}{\sqrt{\alpha_t}}"),
    "E-16": ("posterior_mean", "001", 0, r"\frac{\sqrt{\alpha_{t-1}}\,\beta_t}{1-\alpha_t}"),
}
BY_HAND = {  # (printed, correct) at t = 4: β = .6, α = .4, ᾱ_3 = .405, ᾱ_4 = .162; E-01 is the ledger's own example
    "E-01": (math.sqrt(0.162) * 0.6 / 0.838, math.sqrt(0.405) * 0.6 / 0.838),
    "E-02": (math.sqrt(0.162), math.sqrt(0.4) * 0.595 / 0.838),
    "E-03": (1 / math.sqrt(0.162), 1 / math.sqrt(0.4)),
    "E-16": (math.sqrt(0.405 * 0.6) / 0.838, math.sqrt(0.405) * 0.6 / 0.838),
}


@pytest.mark.parametrize("erratum", PRINTED)
def test_the_note_quotes_the_misprint_and_the_formula_is_corrected(erratum):
    name, deck, nth, correct = PRINTED[erratum]
    assert erratum in note(name, deck) and "prints" in note(name, deck)
    quoted = [re.sub(r"\\,x$", "", q) for q in re.findall(r"\$(.+?)\$", note(name, deck)) if r"\frac" in q]
    assert correct in formula(name, deck) and quoted[nth] not in formula(name, deck)
    same(Reader.number(quoted[nth], deck, 4), BY_HAND[erratum][0])
    same(Reader.number(correct, deck, 4), BY_HAND[erratum][1])


def test_notes_tell_printed_from_translated_and_absent():
    assert note("kernel", "course") == note("kernel", "003") == ""
    assert note("one_shot", "003").startswith("The deck does not print this formula")
    assert "another part" in note("score", "000") and note("score", "000 continuous") == ""
    assert "does not appear" in note("step", "002 DDIM") and "one-step noise" in note("step", "002 DDIM")
    assert [d for d in DECKS if appears("transition", d)] == ["course"]
    with pytest.raises(ValueError, match="no symbol for: log signal-to-noise ratio.* 'course', '000 continuous'"):
        formula("log_snr", "001")


def math_of(text):
    return re.findall(r"\$(.+?)\$", text)


def test_all_latex_parses():
    """Symbols, formulas, notes and remarks, with matplotlib's parser; the notebook's MathJax knows a superset."""
    parser = MathTextParser("agg")
    latex = {s for row in SYMBOLS.values() for s in row.values() if s}
    latex |= {formula(*pair) for pair in PAIRS}
    latex |= {m for name in FORMULAS for deck in DECKS for m in math_of(note(name, deck))}
    latex |= {m for text in notation.REMARKS.values() for m in math_of(text)}
    assert len(latex) > 150
    for one in latex:
        parser.parse(f"${one}$")


def cells(line):
    return [c.strip() for c in line.strip("|").split("|")]


def test_tables_are_whole_and_in_the_order_asked_for():
    lines = notation.table(["001", "course"]).split("\n")
    head, rule, *body = (line for line in lines if line.startswith("|"))
    assert cells(head) == ["quantity", "001 Pisa (Bacciu)", "this course"]
    assert len(body) == len(SYMBOLS) and all(len(cells(line)) == 3 for line in [head, rule, *body])
    assert ["cumulative retention", r"$\alpha_t$", r"$\bar{\alpha}_t$"] in map(cells, body)
    assert ["log signal-to-noise ratio", "–", r"$\lambda(t)$"] in map(cells, body)
    remarks = [line for line in lines if line.startswith("- ")]
    assert any("$z_0 = x$" in line for line in remarks) and not any("cs231n" in line for line in remarks)
    assert all(len(cells(line)) == 1 + len(DECKS) for line in notation.table().split("\n") if line.startswith("|"))
    for name in FORMULAS:
        rows = compare(name).split("\n")
        assert all(len(cells(row)) == 3 for row in rows) and len(rows) == 2 + len(DECKS)
    assert cells(compare("step", ["002 DDIM"]).split("\n")[2])[1] == "–"


def test_remarks_and_notes_belong_to_known_names():
    assert all(key in SYMBOLS and deck in DECKS for key, deck in notation.REMARKS)
    assert all(name in FORMULAS and deck in DECKS for name, deck in notation._NOTES)
    assert all(deck in DECKS for f in FORMULAS.values() for deck in f.printed)
    assert all(appears(name, deck) for name, f in FORMULAS.items() for deck in f.printed)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: formula("kernle"), "unknown formula 'kernle'; known: .*kernel"),
        (lambda: formula("kernel", "005"), "unknown deck '005'; known: course, 000"),
        (lambda: note("kernle"), "unknown formula"),
        (lambda: notation.translate("abar", "001"), "unknown symbol 'abar'; known: .*alpha_bar"),
        (lambda: notation.translate("beta", "01"), "unknown deck '01'"),
        (lambda: notation.table(["01"]), "unknown deck '01'"),
        (lambda: compare("kernle"), "unknown formula"),
        (lambda: to_course("001", "abar", 0.5), "unknown quantity 'abar'; known: alpha_bar"),
        (lambda: from_course("003", "guidance", 1.0), "deck '003' has no guidance; decks that have it: course"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_numbers_convert_as_the_letters_do():
    """The number of the deck's letter at each t, against the schedule: α_t of 001, of the continuous part, of 003."""
    carrier = {"alpha_bar": {"alpha_bar", "signal"}, "beta": {"beta", "alpha"}}
    preferred = {"001": r"\alpha_t", "002 DDIM": r"\alpha_t", "000 continuous": r"\alpha_t"}
    for quantity in carrier:
        for deck in CONVERSIONS[quantity]:
            options = [letter for letter, m in MEANS[deck].items() if m in carrier[quantity]]
            letter = preferred.get(deck) if quantity == "alpha_bar" else None
            letter = letter or next((x for x in options if MEANS[deck][x] == quantity), options[0])
            for t in range(1, 5):
                same(to_course(deck, quantity, Reader.number(letter, deck, t)), values(t)[quantity])
                same(from_course(deck, quantity, values(t)[quantity]), Reader.number(letter, deck, t))
    got = from_course("000 continuous", "alpha_bar", CHAIN.alpha_bar)
    assert torch.equal(got, CHAIN.alpha_bar.sqrt())


def test_conversions_exist_where_the_letters_do():
    for quantity in ("alpha_bar", "beta", "guidance"):
        assert {d for d in DECKS if SYMBOLS[quantity][d]} == set(CONVERSIONS[quantity])


@pytest.mark.parametrize("w", [-1.0, 0.0, 0.5, 3.0])
def test_guidance_weights_give_one_guided_prediction(w):
    """Each deck's guidance formula (ledger GUIDE-1, GUIDE-10), with its own weight, is the course's."""
    cond, uncond = 0.9, -0.4
    g = cond - uncond  # what a perfect classifier's gradient is worth
    guided = (1 + w) * cond - w * uncond
    number = {deck: from_course(deck, "guidance", w) for deck in ("000", "001", "002")}
    same((1 + number["000"]) * cond - number["000"] * uncond, guided)
    same((1 - number["001"]) * uncond + number["001"] * cond, guided)
    same((number["002"] + 1) * cond - number["002"] * uncond, guided)
    number = {deck: from_course(deck, "classifier_guidance", w) for deck in ("000", "001", "002")}
    same(cond + number["000"] * g, guided)
    same(uncond + number["001"] * g, guided)
    same(uncond + number["002"] * g, guided)
    for quantity in ("guidance", "classifier_guidance"):
        for deck in CONVERSIONS[quantity]:
            assert to_course(deck, quantity, from_course(deck, quantity, w)) == w


def test_importing_needs_no_drawing_library():
    code = (
        "import sys, dlgm.course.notation;"
        "print([m for m in ('matplotlib', 'ipywidgets', 'IPython') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_table_of_chosen_quantities_shows_those_and_their_remarks_only():
    table = notation.table(["course", "001"], ["x0", "alpha_bar"])
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert rows[-1] == r"| cumulative retention | $\bar{\alpha}_t$ | $\alpha_t$ |" and len(rows) == 4
    assert "z_0 = x" in table and "reverse" not in table
    with pytest.raises(ValueError, match="unknown quantity 'alpha_t'"):
        notation.table(None, ["alpha_t"])
