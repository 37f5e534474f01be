"""Class lists and gradebooks: the right row and the right column, and not a character of the rest changed."""

import csv
import io
import json
import re
import unicodedata

import pytest
from grading import world

from dlgm.grading import batch, hand, report, roster
from dlgm.grading.grade import PartResult, Result

pytestmark = pytest.mark.usefixtures("toy")

MOODLE = "First name,Surname,ID number,Email address\nJane,Doe,7001,jd@x\nSean,O'Neil,7002,so@x\nJosé,Peña,7003,jp@x\n"


def matched(table, *entries, name="m.csv"):
    """Entry's student -> indices of the rows that are its, and who is in no row; entries are names of files."""
    known = dict(map(batch.listed, entries))
    students, left = roster.parse(name, table).match(known)
    return {s: [i for i, other in enumerate(students) if other == s] for s in known if s in students}, left


@pytest.mark.parametrize(
    "spelled",
    [
        "Sean ONeil", "Sean O’Neil", "SEAN  O'NEIL ", "Sean\u00a0O'Neil", "Sean O\u02bcNeil", "Group 1-Sean ONeil",
        "Lab-A-Sean O'Neil", "O'Neil Sean", "Sean\u202fO`Neil",
    ],
)  # fmt: skip
def test_a_name_is_known_however_an_lms_spells_it(spelled):
    folder = f"{spelled}_9_assignsubmission_file_"
    student = batch.listed(folder)[0]
    assert matched(MOODLE, folder) == ({student: [1]}, [])


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_of_one_or_two_signs_are_the_same(form):
    name = unicodedata.normalize(form, "José Peña")
    assert matched(MOODLE, name) == ({name: [2]}, [])
    swapped = unicodedata.normalize("NFD" if form == "NFC" else "NFC", MOODLE)
    assert matched(swapped, name) == ({name: [2]}, [])


def test_letters_that_change_with_their_case():
    table = "First name,Surname\nİpek,Işık\nHans,Groß\nSofi,Fink\n"
    for row, spelled in ((0, "İPEK IŞIK"), (0, "ipek ışık"), (1, "HANS GROSS"), (1, "hans groẞ"), (2, "Soﬁ Fink")):
        assert matched(table, spelled) == ({spelled: [row]}, [])


def test_an_accent_that_is_missing_is_said_and_no_match():
    assert matched(MOODLE, "Jose Pena") == ({}, ["Jose Pena"])
    assert roster.near("Jose Pena", ["Jane Doe", "José Peña", "Sean O'Neil"]) == "José Peña"
    assert roster.near("Xu Li", ["Jane Doe", "José Peña"]) is None


def test_a_hyphen_is_a_group_only_where_the_whole_name_fits_nobody():
    table = "Full name,Email\nAnne-Marie Roe,a@x\nMarie Roe,m@x\n"
    entries = ("Anne-Marie Roe_1_assignsubmission_file", "Marie Roe_2_assignsubmission_file")
    assert matched(table, *entries) == ({"Anne-Marie Roe_1": [0], "Marie Roe_2": [1]}, [])


def test_canvas_names_with_digits_and_signs():
    assert batch.listed("student2test_5_6_toy") == ("student2test_5", ("student2test_5", "5", "student2test"))
    assert batch.listed("o'neilsean_LATE_7_8_toy-1")[0] == "o'neilsean_7"
    assert batch.listed("hw1_2026_11_jane") == ("hw1_2026_11_jane", ("hw1_2026_11_jane",))  # a date
    table = 'Student,Section\n"O\'Neil, Sean",A\n"Test, Student 2",A\n'
    found, left = matched(table, "oneilsean_7_8_toy", "teststudent2_5_6_toy")
    assert (found, left) == ({"oneilsean_7": [0], "teststudent2_5": [1]}, [])


@pytest.mark.parametrize(
    "name, student, names",
    [
        ("hw1_jdoe_attempt_2026-11-01-10-11-12_file", "hw1_jdoe", ("hw1_jdoe", "jdoe")),
        ("Essay 1_j_doe_attempt_2026-11-01-10-11-12", "Essay 1_j_doe", ("Essay 1_j_doe", "j_doe", "doe")),
        ("12345-67 - Jane Doe - Nov 1, 2026 1011 AM", "Jane Doe_12345-67", ("Jane Doe_12345-67", "Jane Doe")),
        ("12-34 - Ann-Lee Roe- 1 November, 2026 911 - hw-1", "Ann-Lee Roe_12-34", ("Ann-Lee Roe_12-34", "Ann-Lee Roe")),
        ("12-34 - N0123456 - Jane Doe - 1 May 2026 0911", "Jane Doe_12-34", ("Jane Doe_12-34", "Jane Doe")),
        ("Doe, Jane(jdoe)", "Doe, Jane(jdoe)", ("Doe, Jane(jdoe)", "jdoe", "Doe, Jane")),
        ("jane(1)", "jane(1)", ("jane(1)",)),
        ("an_attempt_2026", "an_attempt_2026", ("an_attempt_2026",)),
    ],
)
def test_names_as_blackboard_brightspace_and_sakai_write_them(name, student, names):
    assert batch.listed(name) == (student, names)


def test_every_attempt_is_the_same_student_s_and_the_class_list_tells_who_it_is(toy, tmp_path):
    for name in ("hw_jdoe_attempt_2026-11-01-10-11-12_a", "hw_jdoe_attempt_2026-11-02-10-11-12_b"):
        world.save(tmp_path / f"{name}.ipynb", world.notebook())
    (tmp_path / "hw_jdoe_attempt_2026-11-02-10-11-12.txt").write_text("a receipt")
    world.save(tmp_path / "hw_j_roe_attempt_2026-11-01-10-11-12_toy.ipynb", world.notebook())
    found, others = batch.entries(tmp_path, toy)
    assert {(e.student, len(e.others)) for e in found} == {("hw_jdoe", 1), ("hw_j_roe", 0)} and others == []
    table = "Last Name,First Name,Username\nDoe,Jane,jdoe\nRoe,Jim,j_roe\n"
    students, left = roster.parse("m.csv", table).match({e.student: e.names for e in found})
    assert (students, left) == (["hw_jdoe", "hw_j_roe"], [])


def test_a_number_is_an_id_and_no_score():
    """Canvas' ID 12 is not the 12 points that somebody else has in a quiz."""
    table = 'Student,ID,Section,Quiz 1 (31)\n"Doe, Jane",12,A,7\n"Roe, Rob",13,A,12\n'
    assert matched(table, "doejane_12_99_toy") == ({"doejane_12": [0]}, [])
    gone = 'Student,ID,Section,Quiz 1 (31)\n"Roe, Rob",13,A,12\n'
    assert matched(gone, "poeann_12_99_toy") == ({}, ["poeann_12"])
    assert matched('Student,ID,Quiz,Quiz\n"Roe, Rob",13,1,2\n', "poeann_12_99_toy") == ({}, ["poeann_12"])
    assert matched("Name,SIS ID\nAnn,42\nBob,00043\n", "00042", "43") == ({"00042": [0], "43": [1]}, [])


def test_one_student_in_two_sections_and_two_students_of_one_name():
    sections = 'Student,ID,Section\n"Doe, Jane",12,A\n"Doe, Jane",12,B\n"Roe, Rob",13,A\n'
    assert matched(sections, "doejane_12_99_toy") == ({"doejane_12": [0, 1]}, [])
    assert matched("ada\nbob\nada\n", "ada", name="class.txt") == ({"ada": [0, 2]}, [])
    namesakes = "First name,Surname,ID number\nJane,Doe,7001\nJane,Doe,7002\n"
    for entries in (("Jane Doe_101",), ("Jane Doe_101", "Jane Doe_102")):
        folders = [f"{entry}_assignsubmission_file_" for entry in entries]
        assert matched(namesakes, *folders) == ({}, list(entries))
        known = dict(map(batch.listed, folders))
        assert roster.parse("m.csv", namesakes).unclear(known, [None, None]) == {0: list(entries), 1: list(entries)}


def test_one_of_several_names_is_meant_by_its_own_spelling_first():
    known = {"Jane Doe_7": ("Jane Doe_7", "Jane Doe"), "jane doe": ("jane doe",), "O’Neil": ("O’Neil",)}
    assert roster.who("jane doe", known) == "jane doe" and roster.who("Jane\u00a0 Doe", known) == "Jane Doe_7"
    assert roster.who("O'Neil", known) == "O’Neil" and roster.who("Bob", known) is None
    assert roster.who("a-b", {"a b": (), "ab": ()}) is None  # as like one as the other


# ---- tables ---------------------------------------------------------------------------------------------------------
def result(student, affine=6.0, problem=""):
    parts = [PartResult("affine", affine, 6.0, "right"), PartResult("spread", 0.0, 4.0, "not yet")]
    return Result(student, "digest", tuple(parts), problem=problem).as_dict() | {"stamp": "s"}


def filled(toy, text, results, given=None, name="c.csv"):
    """The gradebook of a table, and for each row the student."""
    listing = roster.parse(name, text)
    students, _ = listing.match({r["student"]: (r["student"],) for r in results})
    return roster.gradebook(listing, students, toy, results, given or hand.Hand())


CANVAS = (
    "\ufeffStudent,ID,Notes,toy (99),Final Score\r\n    Points Possible,,,(read only),\r\n"
    '"Doe, Jane",{}\r\n"Roe, Rob",{}'
)


def test_the_column_of_the_assignment_is_filled_and_no_other_character_changes(toy):
    """With its ID; a mark, ends of lines, quotes, spaces, form feeds, U+2028, lines in cells, no last end of line."""
    rows = '12,"two\r\n\r\nlines; ""so\x0c""",{}, 1.50 ', "13,\u2028 x\x0by ,{},"
    text = CANVAS.format(*(row.format(cell) for row, cell in zip(rows, ("", '"old"'), strict=True)))
    done = CANVAS.format(*(row.format(cell) for row, cell in zip(rows, ("6.0", '"old"'), strict=True)))
    assert filled(toy, text, [result("12")]) == done  # who is not matched keeps what was there
    for title in ("toy", "Toy (7)", "Assignment: toy (Real)"):
        assert filled(toy, f"ID,{title},x\n12,3,y\n", [result("12")]) == f"ID,{title},x\n12,6.0,y\n"


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_new_column_stands_behind_the_others(toy, mark, end, delimiter):
    rows = [
        ["Student", "ID", "Section"],
        ["    Points Possible", "", ""],
        ["'Doe, Jane'", "12", "A"],
        ["Roe; Rob", "13"],
    ]
    quoted = [['"' + cell + '"' if delimiter in cell else cell for cell in row] for row in rows]

    def text(*more):
        full = [[*row, *[""] * (3 - len(row)) * bool(cell), *cell] for row, cell in zip(quoted, more, strict=True)]
        return mark + end.join(map(delimiter.join, full)) + end + end

    before, after = text([], [], [], []), text(["toy"], ["15"], ["6.0"], [""])
    assert filled(toy, before, [result("12")]) == after


def test_cells_behind_the_titles_and_lines_above_them_stay(toy):
    text = "sep=;\nCourse 12;;\nStudent;ID\n\nJane;12;late\n;;\nRob;13\n"
    done = "sep=;\nCourse 12;;\nStudent;ID;;toy\n\nJane;12;late;6.0\n;;\nRob;13;;\n"
    assert filled(toy, text, [result("12")]) == done


def test_lines_above_the_titles_may_hold_a_delimiter(toy):
    text = "Course 12, winter\n\nName,ID,Section,Mail\nJane,12,A,x\nRob,13\n"
    done = "Course 12, winter\n\nName,ID,Section,Mail,toy\nJane,12,A,x,6.0\nRob,13,,,\n"
    assert filled(toy, text, [result("12")]) == done
    assert filled(toy, "ID\tQuiz\n12\t3\n", [result("12")], name="c.tsv") == "ID\tQuiz\ttoy\n12\t3\t6.0\n"


@pytest.mark.parametrize(
    "title", ["toy [10]", "toy [Total Pts: 10 Score] |12345", "toy Points Grade <Numeric MaxPoints:10>", "Toy (7)"]
)
def test_the_column_is_known_by_the_title_that_an_lms_gives_it(toy, title):
    text = 'Username,{},"End-of-Line"\n#12,{},#\n'
    assert filled(toy, text.format(title, ""), [result("12")]) == text.format(title, "6.0")


def test_numbers_are_written_as_the_table_writes_them(toy):
    assert filled(toy, "ID;Quiz\n12;7,5\n", [result("12", 4.5)]) == "ID;Quiz;toy\n12;7,5;4,5\n"
    assert filled(toy, "ID;Quiz\n12;7.5\n", [result("12", 4.5)]) == "ID;Quiz;toy\n12;7.5;4.5\n"


def test_the_delimiter_is_looked_for_outside_quotes_and_in_all_lines(toy):
    title = '"Essay; draft; final; re-read (5)"'
    assert roster.parse("c.csv", f"Student,{title}\nJane,1\n").columns == ("Student", title.strip('"'))
    unquoted = roster.parse("c.csv", "Student,Essay; draft; final\nJane,1\nRob,2\n")
    assert unquoted.columns == ("Student", "Essay; draft; final") and unquoted.rows[1] == ("Rob", "2")
    assert roster.parse("c.csv", "Name;ID\nDoe, Jane;12\nRoe, Rob;13\n").rows[1] == ("Roe, Rob", "13")


def test_signs_that_end_no_line_split_no_name():
    names = "Ann\x0cLee\nBob\u2028Ray\rZoë\x0bX\r\n\x85\n"
    assert [row[0] for row in roster.parse("class.txt", names).rows] == ["Ann\x0cLee", "Bob\u2028Ray", "Zoë\x0bX"]


def test_what_is_no_table_of_the_class_is_refused(toy):
    for name, text, words in (
        ("c.txt", "ada\nbob".encode("utf-16-le").decode(), "is not UTF-8"),
        ("c.csv", 'Student,ID\n"Doe, Jane,12\n', "near line 2"),
        ("c.csv", "Student,ID\n\n,,\n", "titles and no students"),
        ("c.csv", " \n\n", "is empty"),
    ):
        with pytest.raises(ValueError, match=words):
            roster.parse(name, text)
    with pytest.raises(ValueError, match=re.escape("several columns for toy: 'toy (1)' and 'toy (2)'")):
        filled(toy, "ID,toy (1),toy (2)\n12,,\n", [result("12")])


def test_who_handed_in_nothing_or_fits_several_rows_gets_no_zero(tmp_path, monkeypatch):
    """Through the whole run: namesakes, a name that nobody has, a student who handed in nothing."""
    source = world.save(tmp_path / "source" / "toy.ipynb", world.master())
    for name in ("Jane Doe_101", "Jane Doe_102", "Sean ONeil_9", "Jose Pena_4"):
        world.save(tmp_path / "in" / f"{name}_assignsubmission_file_" / "toy.ipynb", world.notebook(written=""))
    text = MOODLE + "Jane,Doe,7009,jd9@x\nAnn,Poe,7010,ap@x\n"
    options = {"listing": roster.parse("m.csv", text), "salt": "s"}
    remarks = batch.run(tmp_path / "in", str(source), tmp_path / "out", **options).remarks
    rows = list(csv.reader(io.StringIO((tmp_path / "out" / "gradebook.csv").read_text(encoding="utf-8"))))
    assert [row[-1] for row in rows] == ["toy", "", "0.0", "", "", ""]
    said = "\n".join(remarks)
    assert "no total is written: Jane Doe 7001 jd@x may be Jane Doe_101 or Jane Doe_102" in said
    assert "not on the roster: Jose Pena_4 (is it José Peña?)" in said
    assert "nothing handed in: José Peña; Ann Poe" in said
    with (tmp_path / "out" / "marks.csv").open(encoding="utf-8-sig", newline="") as file:
        found = {row["Student"] for row in csv.DictReader(file)}
    assert found == {"Jane Doe_101", "Jane Doe_102", "Sean ONeil_9", "Jose Pena_4", "José Peña", "Ann Poe"}
    asked = []
    real = batch.grade_one
    monkeypatch.setattr(batch, "grade_one", lambda *a: asked.append(a[1].student) or real(*a))
    batch.run(tmp_path / "in", str(source), tmp_path / "out", **options, again=["Sean O'Neil"])
    assert asked == ["Sean ONeil_9"]


# ---- tables in a spreadsheet ----------------------------------------------------------------------------------------
TAKEN = ["00123", "7", "1e5", "12E3", "1-2", "3/4", "5 May", "MARCH1", "sept-2", "5. März 2026", "10:30 am", "TRUE",
         "+4", "=A1", "-x", "@x", "$5", "1,000", "2026-11-29", ".5"]  # fmt: skip
KEPT = ["ada", "marco7", "Jane Doe_77", "jdoe12", "t1e234567", "May", "dan", "3dmax", "'tis", "'dan"]


@pytest.mark.parametrize("text", TAKEN)
def test_what_a_spreadsheet_takes_for_a_number_or_a_date_is_guarded(text):
    assert report.safe(text) == hand.guarded(text) == "'" + text
    assert hand._plain(hand.guarded(text)) == text == hand._plain(text)
    assert hand._plain(hand.guarded("'" + text)) == "'" + text


@pytest.mark.parametrize("text", KEPT)
def test_other_text_is_left_alone(text):
    assert hand.guarded(text) == text == hand._plain(text)


def test_a_digest_is_never_a_number():
    marks = [hand.digest({"words": str(i)}) for i in range(3000)]
    assert not any(map(report.taken, marks))
    assert sum(mark[1:].isdecimal() or re.fullmatch(r"\d+e\d+", mark[1:]) is not None for mark in marks) > 20
    given = hand.Given(3.0, text=marks[7][1:])  # as older tables have it
    assert not given.outdated({"words": "7"}) and given.outdated({"words": "8"})


def test_rows_by_hand_are_found_under_other_spellings_and_none_is_lost():
    rows = {(name, "why"): hand.Given(float(k)) for k, name in enumerate(["Sean O'Neil", "Jane Doe", "Jane_Doe", "Xu"])}
    known = {"Sean O’Neil_9": ("Sean O’Neil_9", "Sean O’Neil"), "Jane_Doe": ("Jane_Doe",)}
    found = hand.Hand(rows).called(known).rows
    assert {student: given.points for (student, _), given in found.items()} == {
        "Sean O’Neil_9": 0, "Jane Doe": 1, "Jane_Doe": 2, "Xu": 3,
    }  # fmt: skip


def test_names_that_differ_in_spaces_around_them_have_rows_of_their_own():
    names = ["jane", " jane", "jane ", "\ufeffjane"]
    shown = [batch.printable(name) for name in names]
    assert shown[0] == "jane" and len(set(shown)) == 4 and all(name == name.strip() for name in shown)


def test_names_of_files_and_students_cannot_be_made_to_collide():
    for made in (batch.file_name, batch.printable):
        taken = made("J\x00ne")
        assert taken != "J\x00ne" and made(taken) != taken
    assert batch.file_name("jane-doe") == "jane-doe" and batch.printable("Jane Doe") == "Jane Doe"


# ---- state ----------------------------------------------------------------------------------------------------------
def test_damaged_state_is_named_and_nothing_is_guessed(tmp_path):
    (tmp_path / "salt.txt").write_text("\n")
    with pytest.raises(ValueError, match="salt.txt is empty"):
        batch.salt_of(tmp_path, None)
    for text in (
        '{"assignment": "toy", "du',
        '{"assignment": 3}',
        "[]",
        '{"assignment": "toy", "due": "", "list": [1]}',
    ):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(ValueError, match="run.json is damaged"):
            batch.remembered(tmp_path, "toy")
        assert (tmp_path / "run.json").read_text() == text
    for kept in ({"stamp": "s"}, {**result("ada"), "parts": [{}]}, [], {**result("ada"), "parts": 3}):
        (tmp_path / "ada.json").write_text(json.dumps(kept))
        assert batch._kept(tmp_path / "ada.json") is None
    (tmp_path / "ada.json").write_text(report.result_json(result("ada")))
    assert batch._kept(tmp_path / "ada.json") == json.loads(json.dumps(result("ada")))


def test_a_result_depends_on_the_bank_the_grader_and_the_whole_master(tmp_path, toy, monkeypatch):
    from dlgm import exercises
    from dlgm.grading import assignment

    other = world.master()
    other["cells"][1]["source"] += "\nimport math"  # a locked cell
    other = assignment.read(other, "toy")
    assert len({batch.stamp(a, "s", "d", c) for a in (toy, other) for c in "xy"}) == 4
    monkeypatch.setattr(exercises, "__path__", [*exercises.__path__, str(tmp_path)])
    before = batch.code_digest()
    (tmp_path / "more.py").write_text("TOLERANCE = 1")
    assert batch.code_digest() != before


def test_graded_again_since_the_program_changed_is_said(tmp_path, monkeypatch):
    source = world.save(tmp_path / "source" / "toy.ipynb", world.master())
    world.save(tmp_path / "in" / "ada.ipynb", world.notebook())
    run = lambda: batch.run(tmp_path / "in", str(source), tmp_path / "out", salt="s").remarks  # noqa: E731
    assert run() == run() == []
    monkeypatch.setattr(batch, "code_digest", lambda: "another")
    assert run() == ["graded again, since the assignment, the secret or the program changed: 1"]
    assert run() == []


# ---- what the teacher reads -----------------------------------------------------------------------------------------
ACTS = [
    r"$\def\ge{\le}x \ge y$", r"\renewcommand{\frac}[2]{#2 / #1}", r"\let\le\ge", r"\gdef\log{L}",
    r"\DeclareMathOperator{\log}{L}", r"\require{html}", r"\newenvironment{a}{b}{c}", r"$\label{eq:1} x$",
    "&#36;&#92;def\\ge{\\le}", "### bob · to be marked", "> ## bob", "- # bob", "bob\n===", "bob\n  ---  ",
    "![](http://a.b/c.png)", "![a](attachment:x)![b][r]\n\n[r]: http://a.b/c", "<img src=http://a.b/c>", "<h3>bob</h3>",
]  # fmt: skip


@pytest.mark.parametrize("text", ACTS)
def test_an_answer_changes_nothing_but_its_own_cell(text):
    """No macro, label, heading, tag or entity is left, and no picture but of the notebook itself."""
    shown = hand.harmless(text)
    assert shown.replace(hand.BREAK, "") in (text, text.replace(r"\label{eq:1}", ""))
    assert not re.search(r"\\(?:\w?def|let|\w+command|Declare\w+|require|newenvironment|label)\b", shown)
    assert not re.search(r"(?m)^[ >*+-]*#|^ *(=+|-+) *$|<\w|&#|!\[(?!a\]\(attachment:x\))", shown)


def test_formulas_and_pictures_of_the_notebook_stay_as_they_were():
    text = "$$\n\\begin{aligned} a &= b \\\\ \n&\\le \\left(c\\right) < d \\end{aligned}\n$$\n"
    text += "![p](attachment:p.png) -1 & x"
    assert hand.harmless(text) == text


def test_pictures_come_along_in_the_notebook_of_written_answers(toy):
    pictures = {"p.png": {"image/png": "aGk="}}
    part = PartResult("why", 0.0, 5.0, "by hand", "![p](attachment:p.png)", pictures=pictures)
    answered = Result("ada", "d", (part,)).as_dict()
    cells = json.loads(hand.notebook(toy, [answered], hand.Hand()))["cells"]
    assert cells[-1]["attachments"] == pictures and cells[-1]["source"] == "![p](attachment:p.png)"
    other = {**answered["parts"][0], "pictures": {"p.png": {"image/png": "aG8="}}}
    assert hand.digest(answered["parts"][0]) != hand.digest(other)
