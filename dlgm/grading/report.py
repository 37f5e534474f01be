"""Marks as CSV and JSON, and one page of feedback for each student. What students wrote is escaped everywhere."""

import csv
import html
import io
import json
import os
import re
import tempfile

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin:0}.sum{font-size:1.2rem;margin:.2rem 0 1.2rem}
section{border-left:5px solid #7f7f7f;padding:.4rem 1rem;margin:0 0 1rem;background:#f6f6f6}
.right{border-color:#009e73}.not-yet{border-color:#d55e00}.by-hand{border-color:#0072b2}
.points{float:right;font-variant-numeric:tabular-nums}p,ul{margin:.4rem 0}.words{white-space:pre-wrap}
.mistake{font-weight:600}ul.checks{list-style:none;padding:0;font-size:.9rem}li.no{color:#a33c00}footer{color:#5c5c5c;font-size:.85rem;margin-top:2rem}
@media(prefers-color-scheme:dark){body{background:#161616;color:#e6e6e6}section{background:#222}li.no{color:#ff9d5c}
footer{color:#a0a0a0}}
"""


def write(path, text):
    """Write a file in one step: whoever reads it sees the old one or the new one, never half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="") as file:
        file.write(text)
    os.replace(temporary, path)


def safe(value):
    """A value for a spreadsheet: text that would be read as a formula gets an apostrophe in front."""
    if not isinstance(value, str):
        return value
    value = re.sub(r"([;|])\s*(?=[=+\-@])", r"\1 '", re.sub(r"\s+", " ", value))
    return "'" + value if value[:1] in ("=", "+", "-", "@", "'") else value


def marks_csv(assignment, results, by_hand):
    """One row for each student: total, late hours, each part, state of the file.

    Args:
        results: dicts as ``Result.as_dict`` makes them.
        by_hand: (student, part) -> points given by a person.
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
        ]
    )
    for result in sorted(results, key=lambda r: r["student"]):
        cells, waiting = [], 0
        for part in result["parts"]:
            points = by_hand.get((result["student"], part["name"])) if part["state"] == "by hand" else part["points"]
            waiting += points is None
            cells.append("" if points is None else points)
        total = round(sum(v for v in cells if v != ""), 2)
        row = [
            result["student"],
            total,
            waiting,
            result["late_hours"],
            *cells,
            result["problem"] or " ".join(result["notes"])[:500],
        ]
        table.writerow([safe(v) for v in row])
    return out.getvalue()


def hand_csv(assignment, results, by_hand):
    """The table in which a person enters points: one row for each student and part, filled as far as it was."""
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(["Student", "part", "out of", "points"])
    rows = {(r["student"], p["name"]): "" for r in results for p in r["parts"] if p["state"] == "by hand"} | by_hand
    limits = {part.name: part.points for part in assignment.parts}
    for (student, part), points in sorted(rows.items(), key=lambda row: row[0]):  # what was entered is never dropped
        table.writerow([safe(student), part, limits[part], points])
    return out.getvalue()


def read_hand(path, assignment):
    """(student, part) -> points from the table, as far as it is filled in.

    Raises:
        ValueError: points that are no number, or outside 0..out of.
    """
    if not path.exists():
        return {}
    limits, given = {part.name: part.points for part in assignment.parts}, {}
    text = path.read_text(encoding="utf-8-sig")
    first = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=";" if first.count(";") > first.count(",") else ",")
    if not {"Student", "part", "points"} <= set(rows.fieldnames or ()):
        raise ValueError(f"{path}: its first line must name Student, part and points; got {first!r}")
    for line, row in enumerate(rows, 2):
        if not (row["points"] or "").strip():
            continue
        try:
            points = float(row["points"].replace(",", "."))
        except ValueError:
            points = -1.0
        if not 0 <= points <= limits.get(row["part"], -1):
            raise ValueError(f"{path}, line {line}: {row['points']!r} are no points for {row['part']!r}")
        student = row["Student"]
        given[student[1:] if student[:1] == "'" else student, row["part"]] = points
    return given


def page(assignment, result, by_hand):
    """One self-contained page of feedback."""
    body, total, waiting = [], 0.0, False
    for part in result["parts"]:
        points = by_hand.get((result["student"], part["name"])) if part["state"] == "by hand" else part["points"]
        waiting |= points is None
        total += points or 0
        shown = "to be marked" if points is None else f"{points:g}"
        body.append(_section(part, f"{shown} of {part['out_of']:g}"))
    notes = "".join(
        f"<li>{html.escape(note)}</li>" for note in ([result["problem"]] if result["problem"] else result["notes"])
    )
    late = f"<p>Handed in {result['late_hours']:g} hours after the due time.</p>" if result["late_hours"] else ""
    title = f"{html.escape(assignment.name)}: {html.escape(result['student'])}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f'<h1>{title}</h1><p class="sum">{total:g} of {assignment.points:g} points'
        f"{' so far; some parts are marked by a person' if waiting else ''}</p>{late}"
        f"{f'<h2>About your file</h2><ul>{notes}</ul>' if notes else ''}{''.join(body)}"
        "<footer>Points were computed from what your functions return, on the examples shown in the notebook and on "
        "others like them.</footer></html>\n"
    )


def _section(part, points):
    checks = "".join(
        f'<li class="{"yes" if passed else "no"}">{"✓" if passed else "✗"} {html.escape(label)}</li>'
        for label, passed in part["checks"]
    )
    listed = f'<ul class="checks">{checks}</ul>' if checks and part["state"] != "not attempted" else ""
    mistake = f'<p class="mistake">Mistake: {html.escape(part["mistake"])}</p>' if part["mistake"] else ""
    return (
        f'<section class="{part["state"].replace(" ", "-")}"><span class="points">{points}</span>'
        f"<h2><code>{html.escape(part['name'])}</code> · {part['state']}</h2>{mistake}"
        f'<p class="words">{html.escape(part["words"])}</p>{listed}</section>'
    )


def result_json(result):
    """A result as text."""
    return json.dumps(result, indent=1, ensure_ascii=False) + "\n"
