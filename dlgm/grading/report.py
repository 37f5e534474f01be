"""Marks as CSV and JSON, and one page of feedback for each student. What students wrote is escaped everywhere."""

import csv
import html
import io
import json
import re

from ..writing import atomically

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
h1{font-size:1.5rem;margin-bottom:.2rem}
h2{font-size:1.1rem;margin:0}
p,ul{margin:.4rem 0}
section{border-left:5px solid #7f7f7f;padding:.4rem 1rem;margin:1rem 0;background:#f6f6f6}
.sum{font-size:1.2rem;margin:.2rem 0 1.2rem}
.right{border-color:#009e73}
.not-yet{border-color:#d55e00}
.by-hand{border-color:#0072b2}
.points{float:right;font-variant-numeric:tabular-nums}
.words,.comment{white-space:pre-wrap}
.mistake{font-weight:600}
.comment{border-left:3px solid #0072b2;padding-left:.6rem}
.checks{list-style:none;padding:0;font-size:.9rem}
.no{color:#a33c00}
footer{color:#5c5c5c;font-size:.85rem;margin-top:2rem}
@media(prefers-color-scheme:dark){
body{background:#161616;color:#e6e6e6}section{background:#222}.no{color:#ff9d5c}footer{color:#a0a0a0}
}
"""


def write(path, text):
    """Write a file in one step: whoever reads it sees the old one or the new one, never half of it."""
    atomically(path, lambda part: part.write_text(text, encoding="utf-8", errors="replace", newline=""))


def saved(path):
    """The text of a table that a person saved, with its mark and the ends of its lines.

    Raises:
        ValueError: no such file, or not UTF-8.
    """
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f'{path} is not UTF-8: save it as "CSV UTF-8"') from None


MONTHS = (
    "jan january januar janv janvier ene enero feb february februar févr février febrero mar march mär märz mrz mars "
    "marzo apr april avr avril abr abril may mai mayo jun june juni juin junio jul july juli juil juillet julio aug "
    "august août ago agosto sep sept september septembre septiembre oct october okt oktober octobre octubre nov "
    "november novembre noviembre dec december dez dezember déc décembre dic diciembre"
)
NUMBER = rf"(?=.*\d)(?:[\d\W_]+(?:e[\d\W_]+|[ap]m\W*)?|[\d\W_]*(?:{MONTHS.replace(' ', '|')})[\d\W_]*)"
OTHER = re.compile(rf"(?is)[=+\-@\t].*|{NUMBER}|true|false|wahr|falsch|vrai|faux")


def taken(text):
    """Whether a spreadsheet would take a text for a formula, a number, a date or a truth value."""
    return OTHER.fullmatch(text) is not None


def safe(value):
    """A value for a spreadsheet: text that it would take for something else gets an apostrophe in front."""
    if not isinstance(value, str):
        return value
    value = re.sub(r"([;|])\s*(?=[=+\-@])", r"\1 '", re.sub(r"\s+", " ", value))
    return "'" + value if value[:1] == "'" or taken(value) else value


def marks_csv(assignment, results, hand, pages):
    """One row for each student: total so far, late hours, each part, remarks, the page of feedback.

    Args:
        results: dicts as ``Result.as_dict`` makes them. hand: what a person gave, a Hand. pages: student -> file name.
    """
    out = io.StringIO()
    table = csv.writer(out)
    names = [part.name for part in assignment.parts]
    table.writerow(
        [
            "Student",
            f"{assignment.name} (of {assignment.points:g})",
            "to be marked by hand",
            "late hours",
            *names,
            "remark",
            "feedback",
        ]
    )
    for result in sorted(results, key=lambda r: r["student"]):
        points = [hand.points(result, part) for part in result["parts"]]
        row = [
            result["student"],
            float(hand.total(result)),
            hand.waiting(result),
            float(result["late_hours"]),
            *("" if v is None else float(v) for v in points),
            result["problem"] or " ".join(result["notes"])[:500],
            pages[result["student"]],
        ]
        table.writerow([safe(v) for v in row])
    return "\ufeff" + out.getvalue()  # spreadsheets take a file for UTF-8 only with this mark


def page(assignment, result, hand):
    """One self-contained page of feedback."""
    title = f"{html.escape(assignment.title)}: {html.escape(result['student'])}"
    waiting = " so far; some parts are still to be marked by a person" if hand.waiting(result) else ""
    said = [f"Handed in {result['late_hours']:g} hours after the due time."] * bool(result["late_hours"])
    said += [result["problem"]] * bool(result["problem"])
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in result["notes"])
    titles = {part.name: part.title or part.name for part in assignment.parts}
    parts = [_section(titles[part["name"]], part, result, hand) for part in result["parts"]]
    return "".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style><main>',
            f'<h1>{title}</h1><p class="sum">{hand.total(result):g} of {assignment.points:g} points{waiting}</p>',
            *(f"<p>{html.escape(sentence)}</p>" for sentence in said),
            f"<h2>About your file</h2><ul>{notes}</ul>" if notes else "",
            *(parts if hand.total(result) or not result["problem"] else ()),
            "<footer>A program called your functions on the examples shown in the notebook and on others like them "
            "and compared what they returned. Written answers are marked by a person.</footer></main></html>\n",
        ]
    )


def _section(title, part, result, hand):
    given, points = hand.of(result["student"], part["name"]), hand.points(result, part)
    shown = "to be marked" if points is None else f"{points:g} of {part['out_of']:g}"
    state = "marked by hand" if given.points is not None else part["state"]
    checks = "".join(
        f'<li class="{"yes" if passed else "no"}">{"✓" if passed else "✗"} {html.escape(label)}</li>'
        for label, passed in part["checks"]
    )
    count = f"{sum(passed for _, passed in part['checks'])} of {len(part['checks'])} checks pass"
    listed = f'<p>{count}:</p><ul class="checks">{checks}</ul>' if checks and part["state"] != "not attempted" else ""
    mistake = f'<p class="mistake">Mistake: {html.escape(part["mistake"])}</p>' if part["mistake"] else ""
    comment = f'<p class="comment">{html.escape(given.comment)}</p>' if given.comment else ""
    words = f'<p class="words">{html.escape(part["words"])}</p>{listed}'
    if part["state"] == "right":
        words = f"<details><summary>What was checked</summary>{words}</details>"
    return (
        f'<section class="{part["state"].replace(" ", "-")}"><span class="points">{shown}</span>'
        f"<h2>{html.escape(title)}</h2><p><code>{html.escape(part['name'])}</code> · {state}</p>"
        f"{comment}{mistake}{words}</section>"
    )


def result_json(result):
    """A result as text."""
    return json.dumps(result, indent=1, ensure_ascii=False) + "\n"
