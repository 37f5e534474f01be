"""Who is in the class: a list of names, or the table that Canvas, Moodle or another gradebook exports.

The text of a table is kept as it came: what is written back differs from it in one column, the total.
"""

import csv
import difflib
import io
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

LIMITS = "points possible"  # what Canvas calls the row with the points of each column
LINE = "\r\n|\r|\n"  # no other sign ends a line: names may hold what Python's splitlines takes for one
IDENTIFIES = re.compile(r"\b(id|identifier|e-?mail|login|user ?name|number|nr|nummer|matr\w*)\b", re.IGNORECASE)


def spaced(name):
    """A name with plain spaces, one at a time, and with letters that hold their accents."""
    return " ".join(unicodedata.normalize("NFKC", name).split())


def bare(name):
    """What every LMS leaves of a name: letters and digits; of a number, the digits after its zeros in front."""
    kept = "".join(c for c in spaced(name) if unicodedata.category(c)[0] in "LMN" and unicodedata.category(c) != "Lm")
    return kept.lstrip("0") or kept if kept.isdecimal() else kept


def plain(name):
    """A name in which case, that of the Turkish İ and ı too, and kinds of spaces make no difference."""
    return spaced(name).casefold().replace("i\u0307", "i").replace("ı", "i")


def bare_plain(name):
    """A name in which neither these do nor any sign."""
    return bare(plain(name))


def unaccented(name):
    """Letters and digits without accents, to find what may have been meant."""
    return bare_plain("".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)))


def who(name, known):
    """The one of some names that is this one: exactly, else as ``spaced`` or ``bare`` read it; None if none or several.

    Args:
        known: name -> all names that it may be called by.
    """
    if name in known:
        return name
    for reads in (spaced, bare):
        found = [one for one, called in known.items() if reads(name) in {reads(v) for v in (one, *called)} - {""}]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def near(name, names):
    """The one of some names that is most like this one, or None."""
    spelled = {unaccented(other): other for other in names}
    found = difflib.get_close_matches(unaccented(name), spelled, 1, 0.7)
    return spelled[found[0]] if found else None


@dataclass(frozen=True)
class Roster:
    """Columns and rows as they came; a plain list has the one column Student.

    Attributes:
        before, lines: the text above the titles; of the titles and of each row, with the ends of lines.
        delimiter: of the cells.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    before: str = field(default="", repr=False)
    lines: tuple[str, ...] = field(default=(), repr=False)
    delimiter: str = ","

    @property
    def identities(self):
        """Indices of the columns that tell one person from another: the first and ID, mail and the like, else all."""
        titled = {k for k, title in enumerate(self.columns) if IDENTIFIES.search(title)}
        return {0, *titled} if titled else set(range(len(self.columns)))

    def match(self, known):
        """(for each row its student or None, students who are in no row).

        A row is a student's if two neighbouring cells of it (first and last name, or the other way round), else if one,
        is one of the student's names (Doe, Jane is Jane Doe), and only if nobody else's fits: first as ``plain`` reads
        them, then as ``bare_plain`` does, then without what Moodle puts in front, the name of a group. A number is
        looked for in the columns of identities only, and rows of one person, who is in two sections, share a student.

        Args:
            known: student -> names under which the student may be listed.
        """
        found = [None] * len(self.rows)
        for fits in self._ways(known):
            left = {i: [s for s in students if s not in found] for i, students in fits.items() if found[i] is None}
            for i, students in left.items():
                if len(students) == 1:
                    same = [j for j, others in left.items() if students[0] in others]
                    if all(left[j] == students and self.same(i, j) for j in same):
                        found[i] = students[0]
        return found, sorted(set(known) - set(found))

    def unclear(self, known, found):
        """Row -> students that it fits, of the rows and students that ``match`` left alone since several fit."""
        out = {}
        for fits in self._ways(known):
            for i, students in fits.items():
                if found[i] is None and (students := [s for s in students if s not in found]):
                    out.setdefault(i, students)
        return out

    def _ways(self, known):
        """Row -> students whose names fit it, for each way to read names, the strictest first."""
        identities = self.identities
        groups = {s: {name[k + 1 :] for name in v for k, c in enumerate(name) if c == "-"} for s, v in known.items()}
        for reads, called in ((plain, known), (bare_plain, known), (bare_plain, groups)):
            names = {student: {reads(name) for name in spelled} - {""} for student, spelled in called.items()}
            for pairs in (True, False):
                out = {}
                for i, row in enumerate(self.rows):
                    if is_limits(row):
                        continue
                    cells = enumerate(row)
                    if pairs:
                        both = [pair for pair in zip(row, row[1:], strict=False) if all(map(str.strip, pair))]
                        cells = [(-1, f"{a} {b}") for first, last in both for a, b in ((first, last), (last, first))]
                    keys = {(k, key) for k, v in cells for key in (reads(v), reads(" ".join(v.split(",", 1)[::-1])))}
                    keys = {key for k, key in keys if k in identities or not key.isdecimal()}
                    out[i] = [student for student in names if names[student] & keys]
                yield out

    def same(self, i, j):
        """Whether two rows are of one person."""
        return all(plain(self.rows[i][k]) == plain(self.rows[j][k]) for k in self.identities)


def parse(name, text):
    """A Roster from one student a line, or, if the name ends in .csv or .tsv, from a table with a line of titles.

    Raises:
        ValueError: nobody is in it, or it is no text.
    """
    if "\0" in text:
        raise ValueError(f'the roster {name} is not UTF-8: save it as "CSV UTF-8"')
    mark, text = text[: text.startswith("\ufeff")], text.removeprefix("\ufeff")
    delimiter = _delimiter(text) if name.lower().endswith((".csv", ".tsv")) else None
    if delimiter is None:
        rows = tuple((line.strip(),) for line in re.split(LINE, text) if line.strip())
        if not rows:
            raise ValueError(f"the roster {name} is empty")
        return Roster(("Student",), rows)
    source = io.StringIO(text, newline="").readlines()
    reader, records, start = csv.reader(source, delimiter=delimiter, strict=True), [], 0
    try:
        for row in reader:
            records.append((row, "".join(source[start : reader.line_num])))
            start = reader.line_num
    except csv.Error as error:
        raise ValueError(f"the roster {name}, near line {reader.line_num}: {error}") from None
    filled = [sum(bool(cell.strip()) for cell in row) for row, _ in records]
    most = max(filled)
    titles = (k for k, count in enumerate(filled) if count >= min(2, most) and 2 * count > most)
    top = next(titles)  # above: a heading, or sep=;
    if not any(filled[top + 1 :]):
        raise ValueError(f"the roster {name} has titles and no students")
    width = max(len(row) for row, _ in records[top:])
    columns, *rows = [(*row, *[""] * (width - len(row))) for row, _ in records[top:]]
    raw = [line for _, line in records]
    return Roster(columns, tuple(rows), mark + "".join(raw[:top]), tuple(raw[top:]), delimiter)


def _delimiter(text):
    """Comma, semicolon or tab: which stands equally often in the most lines, outside quotes; None if none does."""
    lines = re.split(LINE, re.sub(r'(?m)(^|[,;\t\r])"(?:[^"]|"")*"', r"\1", text))
    usual = {d: Counter(line.count(d) for line in lines if d in line).most_common(1) for d in ",;\t"}
    return max((d for d in usual if usual[d]), key=lambda d: usual[d][0][::-1], default=None)


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
    return plain(row[0]) == LIMITS


def column(roster, assignment):
    """The index of the assignment's column, whose title may end as an LMS ends it; of a new one if there is none.

    Canvas adds ``(an ID)``, Sakai ``[points]``, Blackboard ``[points] |an ID``, Brightspace ``Points Grade <...>``.

    Raises:
        ValueError: several columns could be meant.
    """
    called = {bare_plain(assignment.name), bare_plain(assignment.title)}
    ending = r"\s*(?:\([^()]*\)|\[[^\[\]]*\](?:\s*\|\d+)?|Points Grade(?:\s*<.*>)?)\s*$"
    short = [re.sub(ending, "", title) for title in roster.columns]
    for titles in (roster.columns, short, [re.sub(r"^\s*\w+:", "", title) for title in short]):  # Assignment: of Moodle
        found = [k for k, title in enumerate(titles) if bare_plain(title) in called]
        if len(found) > 1:
            several = " and ".join(repr(roster.columns[k]) for k in found)
            raise ValueError(f"the roster has several columns for {assignment.name}: {several}; leave one of them")
        if found:
            return found[0]
    return len(roster.columns)


def gradebook(roster, students, assignment, results, hand, missing=()):
    """The roster's own text with the totals in the column of the assignment, or in a new one behind the others.

    A total is empty where a person has still to mark a part. In rows of nobody who handed in something or was given
    points, a new column is empty, and one that was there stays as it is.

    Args:
        students: for each row the student, as ``match`` gives them. missing: those of them who handed in nothing.
    """
    found, index = {result["student"]: result for result in results}, column(roster, assignment)
    new, cells = index == len(roster.columns), {cell.strip() for row in roster.rows for cell in row}
    commas = roster.delimiter == ";" and any(re.fullmatch(r"\d+,\d+", cell) for cell in cells)
    out = [roster.before, _with(roster.lines[0], index, assignment.name, roster.delimiter) if new else roster.lines[0]]
    for line, row, student in zip(roster.lines[1:], roster.rows, students, strict=True):
        result, value = found.get(student), "" if new else None
        if is_limits(row):
            value = f"{assignment.points:g}" if new or not row[index].strip() else None
        elif result is not None and (student not in missing or hand.given(result)):
            total = str(float(hand.total(result)))
            value = "" if hand.waiting(result) else total.replace(".", ",") if commas else total
        blank = not any(cell.strip() for cell in row)
        out.append(line if value is None or blank else _with(line, index, value, roster.delimiter))
    return "".join(out)


def _with(line, index, value, delimiter):
    """A line of a table with another value in one cell; all other characters stay as they are."""
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator="").writerow([value, ""])
    cell, at = re.compile(rf'"(?:[^"]|"")*"|[^{re.escape(delimiter)}\r\n]*'), 0
    for _ in range(index):
        at = cell.match(line, at).end()
        if line[at : at + 1] != delimiter:  # a row with fewer cells than others
            line = line[:at] + delimiter + line[at:]
        at += 1
    return line[:at] + buffer.getvalue()[:-1] + line[cell.match(line, at).end() :]
