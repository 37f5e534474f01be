"""Who is in the class: a list of names, or the table that Canvas, Moodle or another gradebook exports."""

import csv
import io
from dataclasses import dataclass

LIMITS = "points possible"  # what Canvas calls the row with the points of each column


@dataclass(frozen=True)
class Roster:
    """Columns and rows as they came; a plain list has the one column Student."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def match(self, known):
        """(for each row its student or None, students who are in no row).

        A row is a student's if two neighbouring cells of it (first and last name), else if one, is one of the student's
        names, in whatever case, and only if nobody else's fits.

        Args:
            known: student -> names under which the student may be listed.
        """
        names = {student: {name.casefold() for name in spelled} for student, spelled in known.items()}
        rows = [[cell.strip().casefold() for cell in row] for row in self.rows]
        found = [None] * len(rows)
        for keys in (lambda row: {f"{a} {b}" for a, b in zip(row, row[1:], strict=False)}, set):
            left = [i for i, student in enumerate(found) if student is None]
            fits = {i: [s for s in names if s not in found and names[s] & keys(rows[i])] for i in left}
            for i, students in fits.items():
                if len(students) == 1 and sum(students[0] in others for others in fits.values()) == 1:
                    found[i] = students[0]
        return found, sorted(set(known) - set(found))


def parse(name, text):
    """A Roster from one student a line, or, if the name ends in .csv, from a table with a line of titles.

    Raises:
        ValueError: nobody is in it.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"the roster {name} is empty")
    delimiter = max(",;\t", key=lines[0].count)
    if not name.lower().endswith(".csv") or delimiter not in lines[0]:
        return Roster(("Student",), tuple((line.strip(),) for line in lines))
    try:
        columns, *rows = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter, strict=True)
    except csv.Error as error:
        raise ValueError(f"the roster {name}: {error}") from None
    return Roster(tuple(columns), tuple((*row, *[""] * (len(columns) - len(row)))[: len(columns)] for row in rows))


def names(roster, row):
    """What to call the student of a row: the full name, or first and last, or the first cell; then with more cells."""
    titles = [title.strip().casefold() for title in roster.columns]
    for wanted in (("full name",), ("first name", "last name"), ("first name", "surname"), (titles[0],)):
        if set(wanted) <= set(titles):
            cells = [row[titles.index(title)] for title in wanted]
            break
    rest = [cell for cell in row if cell not in cells]
    words = [cell.strip() for cell in (*cells, *rest) if cell.strip()]
    return [" ".join(words[:count]) for count in range(min(len(wanted), len(words)), len(words) + 1)]


def is_limits(row):
    """Whether a row holds the points that are possible, not a student."""
    return row[0].strip().casefold() == LIMITS


def gradebook(roster, students, assignment, results, hand):
    """The roster with one column more, the total; empty where a person has still to mark a part.

    Args:
        students: for each row the student, as ``match`` gives them.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*roster.columns, assignment.name])
    found = {result["student"]: result for result in results}
    for row, student in zip(roster.rows, students, strict=True):
        result = found.get(student)
        total = "" if result is None or hand.waiting(result) else float(hand.total(result))
        writer.writerow([*row, f"{assignment.points:g}" if is_limits(row) else total])
    return "\ufeff" + out.getvalue()
