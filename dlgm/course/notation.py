"""The notation of the five lecture decks as data, and the code that translates between them.

A quantity has one LaTeX symbol per deck (``SYMBOLS``), a formula one template (``FORMULAS``); a template filled with a
deck's symbols is the formula as that deck would write it. Three letters change their meaning on the way:

    α_t    one-step retention 1 − β_t (course, 002, 003, 004), ᾱ_t (001; 002 in its DDIM part), √ᾱ_t (000, continuous)
    σ_t    reverse standard deviation (000, 001, 002, 004), noise scale √(1 − ᾱ_t) (000, continuous)
    λ_t    log-SNR (course; 000, continuous), loss weight (000, discrete)

Where a deck prints a formula wrongly, ``formula`` gives the corrected one in the deck's symbols and ``note`` says what
is printed. Source: the ledger's table "Notation across the seeds"; errata E-01..E-75.
"""

import html
import re
from typing import NamedTuple

from ..tensors import known

DECKS = {
    "course": "this course",
    "000": "cs231n (Gao 2023)",
    "000 continuous": "cs231n, continuous time",
    "000 distillation": "cs231n, distillation",
    "001": "Pisa (Bacciu)",
    "002": "KAIST (Choi)",
    "002 DDIM": "KAIST, DDIM part",
    "003": "Luo's overview (Ahmad)",
    "004": "CMU (Gormley & Virtue)",
}

QUANTITIES = {
    "x0": "clean data",
    "x_t": "noisy state",
    "x_s": "previous state",
    "beta": "one-step noise",
    "alpha": "one-step retention",
    "alpha_i": "one-step retention at step i",
    "alpha_bar": "cumulative retention",
    "alpha_bar_prev": "cumulative retention one step before",
    "signal": "signal scale",
    "signal_prev": "signal scale one step before",
    "noise": "noise scale",
    "noise_prev": "noise scale one step before",
    "noise_var": "noise variance",
    "noise_var_prev": "noise variance one step before",
    "logsnr": "log signal-to-noise ratio",
    "tau": "share of the noise that came after s",
    "reverse_std": "reverse standard deviation",
    "posterior_variance": "posterior variance",
    "posterior_mean": "posterior mean",
    "mean_net": "model mean",
    "eps": "total noise",
    "step_noise": "fresh noise of one step",
    "eps_net": "noise network",
    "x0_net": "data network",
    "score_net": "score network",
    "q": "forward law",
    "p": "reverse model",
    "condition": "condition",
    "guidance": "guidance weight",
}

_SCALES = ("000 continuous", "000 distillation")  # these parts write α_t for the signal and σ_t for the noise scale
_CUMULATIVE = ("001", "002 DDIM")  # these write α_t for ᾱ_t
_NO_STEP = (*_SCALES, "002 DDIM")  # these have no letter for the noise of one step


def _row(course, *changes):
    """Deck -> LaTeX: the course's symbol but where (decks, LaTeX or None) says otherwise; None: no symbol there."""
    row = dict.fromkeys(DECKS, course)
    for decks, latex in changes:
        row.update(dict.fromkeys([decks] if isinstance(decks, str) else decks, latex))
    return row


def _cumulative_row(template, scales):
    """A row about ᾱ: ``*`` stands for ᾱ_t where the deck has that letter; scales is what the α, σ parts write."""
    bar = template.replace("*", r"\bar{\alpha}_t")
    return _row(bar, (_CUMULATIVE, template.replace("*", r"\alpha_t")), (_SCALES, scales))


def _before(row):
    """The row one step earlier: t − 1 for t, and s in the distillation part."""
    return {k: v.replace("_t", "_s" if k == "000 distillation" else "_{t-1}") for k, v in row.items()}


SYMBOLS = {
    "x0": _row("x_0", (("000 distillation", "001"), "x")),
    "x_t": _row("x_t", (("000 distillation", "001"), "z_t")),
    "beta": _row(r"\beta_t", (_NO_STEP, None), (("003", "004"), r"1-\alpha_t")),
    "alpha": _row(r"\alpha_t", (_NO_STEP, None), (("000", "001"), r"1-\beta_t")),
    "alpha_i": _row(r"\alpha_i", (_NO_STEP, None), (("000", "001"), r"1-\beta_i")),
    "alpha_bar": _cumulative_row("*", r"\alpha_t^2"),
    "signal": _cumulative_row(r"\sqrt{*}", r"\alpha_t"),
    "noise": _cumulative_row(r"\sqrt{1-*}", r"\sigma_t"),
    "noise_var": _cumulative_row("1-*", r"\sigma_t^2"),
    "logsnr": _row(None, ("course", r"\lambda(t)"), (_SCALES, r"\lambda_t")),
    "tau": _row(None, ("course", r"\tau")),
    "reverse_std": _row(r"\sigma_t", (_SCALES, None), ("003", r"\sigma_q(t)")),
    "posterior_variance": _row(
        r"\tilde{\beta}_t",
        (_NO_STEP, None),
        ("001", r"\mathrm{Var}[z_{t-1} \mid z_t, x]"),
        ("003", r"\sigma_q^2(t)"),
        ("004", r"\sigma_t^2"),
    ),
    "posterior_mean": _row(
        r"\tilde{\mu}_t",
        (_NO_STEP, None),
        ("001", r"\mathbb{E}[z_{t-1} \mid z_t, x]"),
        ("003", r"\mu_q"),
        ("004", r"\tilde{\mu}_q"),
    ),
    "mean_net": _row(r"\mu_\theta(x_t, t)", (_NO_STEP, None), ("001", r"\mu_\theta(z_t, t)")),
    "eps": _row(r"\epsilon", ("001", r"\epsilon_t"), ("003", r"\epsilon_0")),
    "step_noise": _row(
        "z",
        (("000 distillation", "001"), None),
        ("002", r"\epsilon_{t-1}"),
        (("002 DDIM", "003", "004"), r"\epsilon"),
    ),
    "eps_net": _row(
        r"\epsilon_\theta(x_t, t)",
        ("000 distillation", None),
        ("001", r"\epsilon_\theta(z_t, t)"),
        ("002 DDIM", r"\epsilon_\theta^{(t)}(x_t)"),
        ("003", r"\hat{\epsilon}_\theta(x_t, t)"),
    ),
    "x0_net": _row(
        r"\hat{x}_\theta(x_t, t)",
        (("000", "000 continuous", "001", "002"), None),
        ("000 distillation", r"\hat{x}_\theta(z_t)"),
        ("002 DDIM", r"f_\theta^{(t)}(x_t)"),
        ("004", r"x_\theta^{(0)}(x_t, t)"),
    ),
    "score_net": _row(
        None,
        (("course", "000 continuous"), r"s_\theta(x_t, t)"),
        ("001", r"\frac{\partial \log P}{\partial z_t}"),
        ("002", r"s_\theta"),
    ),
    "q": _row("q", ("002 DDIM", r"q_\sigma"), ("004", r"q_\phi")),
    "p": _row(r"p_\theta", ("001", r"P_\theta"), ("002 DDIM", r"p_\theta^{(t)}")),
    "condition": _row(None, (("course", "000", "000 continuous", "001"), "c"), ("002", "y")),
    "guidance": _row(None, (("course", "002"), "w"), (("000", "000 continuous"), r"\omega"), ("001", r"\gamma")),
}
SYMBOLS |= {"x_s": _before(SYMBOLS["x_t"])}
SYMBOLS |= {f"{k}_prev": _before(SYMBOLS[k]) for k in ("alpha_bar", "signal", "noise", "noise_var")}
SYMBOLS = {key: SYMBOLS[key] for key in QUANTITIES}

REMARKS = {  # (quantity, deck) -> what one symbol does not say; shown under the table
    ("x0", "000"): "the VAE part writes $x$",
    ("x0", "001"): "also $z_0$, with $z_0 = x$",
    ("x0", "003"): "the VAE part writes $x$",
    ("x_t", "003"): "the hierarchical VAE writes $z_t$",
    ("beta", "000 continuous"): r"a rate $\beta(t)$ instead; one step of length $\Delta t$ adds $\beta(t) \Delta t$ "
    "to first order",
    ("beta", "002"): r"also $1-\alpha_t$",
    ("alpha", "000"): r"once $\alpha_t$, in Algorithm 2, where it is not defined; see E-44",
    ("alpha_bar", "002 DDIM"): r"the guidance part returns to $\bar{\alpha}_t$",
    ("signal", "course"): r"$\alpha(t)$ for a schedule in continuous time, with $\sigma(t)$ for the noise scale",
    ("logsnr", "000"): r"$\lambda_t$ is a loss weight there",
    ("logsnr", "000 continuous"): "called signal-to-noise ratio, without log; see E-22",
    ("reverse_std", "001"): r"with $\sigma_t^2 = \beta_t$",
    ("reverse_std", "002 DDIM"): r"a free parameter, also $\sigma_\tau(\eta)$",
    ("reverse_std", "004"): r"$\sigma_t^2$ is the posterior variance there",
    ("posterior_variance", "001"): "has no letter in the deck",
    ("posterior_mean", "001"): "has no letter in the deck, which calls it target mean",
    ("posterior_mean", "004"): r"its two coefficients are called $\alpha_t^{(0)}$ and $\alpha_t^{(t)}$",
    ("eps", "002"): r"also $\epsilon_t$",
    ("step_noise", "002"): r"also $\epsilon$; $\bar{\epsilon}_{t-2}$ for merged steps",
    ("step_noise", "003"): "the same letter for two independent draws; see E-51",
    ("step_noise", "004"): "the letter of the total noise; its law is left blank, see E-65",
    ("x0_net", "000 distillation"): r"the student; the teacher is $\hat{x}_\eta$",
    ("x0_net", "004"): r"also $\hat{x}_0$",
    ("score_net", "001"): "the score itself; no network is named",
    ("q", "004"): "also $q$; nothing in it is learned",
    ("guidance", "course"): "0 is the plain conditional model",
    ("guidance", "000"): r"$\gamma = 1 + \omega$",
    ("guidance", "002"): r"in classifier-free guidance $\gamma = 1 + w$; in classifier guidance the same letter is "
    r"$\gamma$ itself, and $s$ in the algorithms; see E-47",
}


class Formula(NamedTuple):
    """template: LaTeX with <key> for a symbol, <(key)> for it in parentheses if it is a sum. printed: the decks, or
    the parts of decks, that print the formula."""

    title: str
    ledger: str
    template: str
    printed: tuple[str, ...]


_ALL = ("000", "001", "002", "003", "004")

FORMULAS = {
    "step": Formula(
        "one step of the chain",
        "FWD-1",
        r"<q>(<x_t> \mid <x_s>) = \mathcal{N}(\sqrt{<alpha>}\,<x_s>,\ <(beta)>\,\mathbf{I})",
        _ALL,
    ),
    "cumulative": Formula("cumulative retention", "FWD-3", r"<alpha_bar> = \prod_{i=1}^{t} <(alpha_i)>", _ALL),
    "kernel": Formula(
        "diffusion kernel",
        "FWD-4",
        r"<q>(<x_t> \mid <x0>) = \mathcal{N}(<signal>\,<x0>,\ <(noise_var)>\,\mathbf{I})",
        (*_ALL, "002 DDIM"),
    ),
    "one_shot": Formula(
        "one-shot sample",
        "FWD-6",
        r"<x_t> = <signal>\,<x0> + <noise>\,<eps>",
        ("000", *_SCALES, "001", "002", "004"),
    ),
    "transition": Formula(
        "transition between any two times s < t",
        "FWD-5",
        r"<q>(x_t \mid x_s) = \mathcal{N}(\frac{\alpha(t)}{\alpha(s)}\,x_s,\ \sigma(t)^2\,<tau>\,\mathbf{I}),"
        r"\quad <tau> = 1 - e^{\lambda(t) - \lambda(s)}",
        (),
    ),
    "log_snr": Formula(
        "log signal-to-noise ratio", "CELBO-2", r"<logsnr> = \log\frac{<alpha_bar>}{<noise_var>}", ("000 continuous",)
    ),
    "posterior_mean": Formula(
        "posterior mean",
        "POST-1",
        r"<posterior_mean> = \frac{<signal_prev>\,<(beta)>}{<noise_var>}\,<x0>"
        r" + \frac{\sqrt{<alpha>}\,<(noise_var_prev)>}{<noise_var>}\,<x_t>",
        _ALL,
    ),
    "posterior_variance": Formula(
        "posterior variance",
        "POST-2",
        r"<posterior_variance> = \frac{<(noise_var_prev)>\,<(beta)>}{<noise_var>}",
        ("000", "002", "003", "004"),
    ),
    "x0_from_noise": Formula(
        "data from noise",
        "PAR-1",
        r"<x0> = \frac{<x_t> - <noise>\,<eps>}{<signal>}",
        ("001", "002", "002 DDIM", "003", "004"),
    ),
    "mean_from_noise": Formula(
        "posterior mean from noise",
        "POST-5",
        r"<posterior_mean> = \frac{1}{\sqrt{<alpha>}}(<x_t> - \frac{<beta>}{<noise>}\,<eps>)",
        ("000", "002", "003", "004"),
    ),
    "score": Formula(
        "score of the kernel",
        "SCORE-4",
        r"\nabla_{<x_t>} \log <q>(<x_t> \mid <x0>) = -\frac{<x_t> - <signal>\,<x0>}{<noise_var>}"
        r" = -\frac{<eps>}{<noise>}",
        ("000 continuous",),
    ),
    "simple_loss": Formula(
        "simple loss",
        "LOSS-5",
        r"L_{\mathrm{simple}} = \mathbb{E}_{t, <x0>, <eps>} \Vert <eps> - <eps_net> \Vert^2,"
        r"\quad <x_t> = <signal>\,<x0> + <noise>\,<eps>",
        ("000", "001", "002"),
    ),
    "ddim": Formula(
        "DDIM step with η = 0",
        "DDIM-6",
        r"<x_s> = <signal_prev>\,\frac{<x_t> - <noise>\,<eps_net>}{<signal>} + <noise_prev>\,<eps_net>",
        ("002 DDIM",),
    ),
    "ddim_x0": Formula(
        "DDIM step with η = 0, from predicted data",
        "DIST-2",
        r"<x_s> = <signal_prev>\,<x0_net> + \frac{<noise_prev>}{<noise>}\,(<x_t> - <signal>\,<x0_net>)",
        ("000 distillation",),
    ),
}

_NOTES = {  # (formula, deck) -> what the deck has instead
    ("step", "002"): r"In words the deck only adds noise; without the factor $\sqrt{\alpha_t}$ the mean would "
    "stay at $x_0$ and the variance would grow; see E-35.",
    ("step", "003"): "The deck unrolls two steps with one noise letter; the two draws are independent; see E-51.",
    ("step", "004"): r"The deck leaves the law of the added noise blank; it is $\mathcal{N}(0, (1-\alpha_t)\,"
    r"\mathbf{I})$; see E-65.",
    ("log_snr", "000 continuous"): "The deck calls this the signal-to-noise ratio; it is its logarithm; see E-22.",
    ("posterior_mean", "001"): r"The deck prints $\frac{\sqrt{\alpha_{t-1}\,\beta_t}}{1-\alpha_t}\,x$, with $\beta_t$ "
    "under the root; see E-16.",
    ("posterior_mean", "004"): r"The deck prints the coefficients $\frac{\sqrt{\bar{\alpha}_t}\,(1-\alpha_t)}"
    r"{1-\bar{\alpha}_t}$ of $x_0$ and $\frac{\sqrt{\bar{\alpha}_t}\,(1-\bar{\alpha}_t)}{1-\bar{\alpha}_t}$ of $x_t$; "
    "see E-01 and E-02.",
    ("mean_from_noise", "000"): r"Algorithm 2 of the deck writes $\alpha_t$ for $1-\beta_t$ without a definition; "
    "see E-44.",
    ("mean_from_noise", "001"): "In words the deck subtracts the predicted noise itself; see E-46.",
    ("mean_from_noise", "004"): r"The deck prints the prefactor $\frac{1}{\sqrt{\bar{\alpha}_t}}$; see E-03.",
    ("score", "002"): r"The deck links this to the score of $q(x_t)$ by an average over $q(x_0)$, without log; the "
    r"average is over $q(x_0 \mid x_t)$; see E-13.",
    ("simple_loss", "000"): "In the deck a parenthesis slips into the brace that marks the noisy input; see E-63.",
    ("simple_loss", "001"): "The deck prints a sum over $x$ and $t$ and says that it follows from the ELBO; the "
    r"weight $\lambda_t = 1$ is a choice, not a consequence; see E-18.",
    ("simple_loss", "002"): r"The deck prints a subscript $t$ on an average over $t$; see E-55.",
    ("ddim", "002 DDIM"): r"At $\eta = 0$ the deck's $\sigma_t$ is 0; one slide misprints it for $\eta = 1$; see E-08.",
}


def translate(symbol, deck):
    """The LaTeX of a quantity in a deck, without dollar signs; None where the deck has no symbol for it.

    Args:
        symbol: a key of SYMBOLS.
        deck: a key of DECKS.
    Raises:
        ValueError: unknown symbol or deck.
    """
    known("symbol", symbol, SYMBOLS)
    known("deck", deck, DECKS)
    return SYMBOLS[symbol][deck]


def _needed(name):
    """Keys of the symbols in a formula's template."""
    return dict.fromkeys(re.findall(r"<\(?(\w+)\)?>", FORMULAS[name].template))


def _lacking(name, deck):
    """The names of the quantities of a formula for which the deck has no symbol."""
    known("formula", name, FORMULAS)
    known("deck", deck, DECKS)
    return [QUANTITIES[key] for key in _needed(name) if SYMBOLS[key][deck] is None]


def appears(name, deck):
    """Whether a deck has a symbol for each quantity of a formula.

    Raises:
        ValueError: unknown formula or deck.
    """
    return not _lacking(name, deck)


def formula(name, deck="course"):
    """A formula in a deck's symbols, corrected where the deck prints it wrongly; LaTeX without dollar signs.

    Args:
        name: a key of FORMULAS.
        deck: a key of DECKS.
    Raises:
        ValueError: unknown formula or deck, or the deck lacks a symbol the formula needs.
    """
    if _lacking(name, deck):
        decks = ", ".join(repr(d) for d in DECKS if appears(name, d))
        raise ValueError(f"formula {name!r}, deck {deck!r}: {note(name, deck)} It can be written in {decks}.")

    def fill(match):
        latex = SYMBOLS[match[2]][deck]
        return f"({latex})" if match[1] and re.search("[+-]", re.sub(r"\{[^{}]*\}", "", latex)) else latex

    return re.sub(r"<(\(?)(\w+)\)?>", fill, FORMULAS[name].template)


def note(name, deck="course"):
    """What to know when you meet the formula in that deck: a misprint with its erratum, or that it is not there.

    Returns:
        Sentences in Markdown; "" where the deck prints the formula as ``formula`` gives it.
    Raises:
        ValueError: unknown formula or deck.
    """
    lacking = _lacking(name, deck)
    if lacking:
        return f"This formula does not appear there; there is no symbol for: {', '.join(lacking)}."
    return " ".join(filter(None, [_unprinted(name, deck), _NOTES.get((name, deck), "")]))


def _unprinted(name, deck):
    """A sentence if that part of the deck does not print the formula."""
    printed = FORMULAS[name].printed
    if deck == "course" or deck in printed:
        return ""
    parts = [DECKS[p] for p in printed if p[:3] == deck[:3]]
    if parts:
        return f"Printed in another part of the deck ({parts[0]}); here it is in the symbols of this part."
    return "The deck does not print this formula; here it is in the deck's symbols."


def _markdown(rows):
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def deck_name(deck):
    """A deck's number and name, as it stands at the head of a column."""
    return DECKS[deck] if deck == "course" else f"{deck[:3]} {DECKS[deck]}"


def table(decks=None, quantities=None):
    """Quantities by decks, as a Markdown table with the remarks below it.

    Args:
        decks: keys of DECKS in the order wanted; None: all.
        quantities: keys of QUANTITIES in the order wanted; None: all.
    Raises:
        ValueError: unknown deck or quantity.
    """
    decks = list(DECKS) if decks is None else list(decks)
    quantities = list(QUANTITIES) if quantities is None else list(quantities)
    for deck in decks:
        known("deck", deck, DECKS)
    for quantity in quantities:
        known("quantity", quantity, QUANTITIES)
    rows = [["quantity", *map(deck_name, decks)]]
    for key in quantities:
        rows.append([QUANTITIES[key], *(f"${SYMBOLS[key][d]}$" if SYMBOLS[key][d] else "–" for d in decks)])
    shown = [(k, d, text) for (k, d), text in REMARKS.items() if d in decks and k in quantities]
    remarks = [f"- {QUANTITIES[k]}, {deck_name(d)}: {text}." for k, d, text in shown]
    return "\n".join([_markdown(rows), "", *remarks]).rstrip()


def compare(name, decks=None):
    """One formula in every deck, as a Markdown table of deck, formula and note.

    Args:
        name: a key of FORMULAS.
        decks: keys of DECKS in the order wanted; None: all.
    Raises:
        ValueError: unknown formula or deck.
    """
    rows = [["deck", _formula_title(name), "note"]]
    for deck in DECKS if decks is None else decks:
        rows.append([deck_name(deck), f"${formula(name, deck)}$" if appears(name, deck) else "–", note(name, deck)])
    return _markdown(rows)


def _formula_title(name):
    known("formula", name, FORMULAS)
    return f"{FORMULAS[name].title} ({FORMULAS[name].ledger})"


def _same(value):
    return value


def _complement(value):
    return 1 - value


_SIGNAL = (lambda a: a**2, lambda alpha_bar: alpha_bar**0.5)
_GAMMA = (lambda gamma: gamma - 1, lambda w: 1 + w)

CONVERSIONS = {  # quantity -> deck -> (to the course, from the course); a deck that lacks the quantity is not listed
    "alpha_bar": dict.fromkeys(DECKS, (_same, _same)) | dict.fromkeys(_SCALES, _SIGNAL),
    "beta": dict.fromkeys(("course", "000", "001", "002"), (_same, _same))
    | dict.fromkeys(("003", "004"), (_complement, _complement)),
    "guidance": dict.fromkeys(("course", "000", "000 continuous", "002"), (_same, _same)) | {"001": _GAMMA},
    "classifier_guidance": dict.fromkeys(("course", "000", "000 continuous"), (_same, _same))
    | dict.fromkeys(("001", "002"), _GAMMA),
}


def _conversion(deck, quantity):
    known("deck", deck, DECKS)
    known("quantity", quantity, CONVERSIONS)
    if deck not in CONVERSIONS[quantity]:
        raise ValueError(f"deck {deck!r} has no {quantity}; decks that have it: {', '.join(CONVERSIONS[quantity])}")
    return CONVERSIONS[quantity][deck]


def to_course(deck, quantity, value):
    """The course's number of a quantity, from the number of the letter that carries it in a deck.

        alpha_bar             ᾱ_t, from ᾱ_t or α_t; α_t² where α_t is the signal scale (000 continuous, distillation)
        beta                  β_t; 1 − α_t (003, 004)
        guidance              classifier-free w = ω (000) = w (002) = γ − 1 (001)
        classifier_guidance   the weight w of ∇ log p(c | x_t) on top of the conditional score: ω (000), γ − 1 (001),
                              and w − 1 for 002, whose w starts from the unconditional score (E-47)

    Args:
        value: a number, an array or a tensor.
    Raises:
        ValueError: unknown deck or quantity, or the deck does not have the quantity.
    Source: ledger, "Notation across the seeds"; GUIDE-10.
    """
    return _conversion(deck, quantity)[0](value)


def from_course(deck, quantity, value):
    """The number of the letter that carries a quantity in a deck, from the course's; the inverse of ``to_course``."""
    return _conversion(deck, quantity)[1](value)


# ---- in the notebook -----------------------------------------------------------------------------------------------
def card(name, deck):
    """A formula of ``FORMULAS`` in the course's symbols and in a deck's: HTML with LaTeX in dollar signs."""
    rows = [("course", formula(name))]
    if deck != "course" and appears(name, deck):
        rows.append((deck, formula(name, deck)))
    lines = [f"<p>{deck_name(d)}:</p><p>$\\displaystyle {latex}$</p>" for d, latex in rows]
    return f"<b>{FORMULAS[name].ledger}</b>{''.join(lines)}<p>{html.escape(note(name, deck))}</p>"


def explorer():
    """The widget of the appendix: choose a formula and a deck, and read it in both notations."""
    import ipywidgets as w  # here, so that the notation can be asked for without a drawing library

    from .widgets import choice

    formulas = {f"{f.title} ({f.ledger})": name for name, f in FORMULAS.items()}
    decks = {deck_name(deck): deck for deck in DECKS if deck != "course"}
    which, whose = choice("formula", formulas), choice("deck", decks)
    shown = w.HTMLMath()

    def update(_=None):
        shown.value = card(formulas[which.value], decks[whose.value])

    for control in (which, whose):
        control.observe(update, "value")
    update()
    return w.VBox([w.HBox([which, whose], layout=w.Layout(flex_flow="row wrap")), shown])
