"""Captions of the pictures in a folder of yours: name.txt beside name.png, or one captions.csv for all of them."""

import csv
import io
import unicodedata
from pathlib import PurePosixPath

from .stored import DataError

TABLE = "captions.csv"
HOW = f"put name.txt beside name.png, or a {TABLE} with the columns file,caption into the folder"


def captions_of(listing):
    """The caption of each picture that ``find`` found, "" where there is none.

    Of a picture with both, the .txt beside it counts; of several rows for one picture the first. Names in the table are
    relative to the folder, with either slash. An empty .txt, and one of blanks, is an empty caption.

    Returns:
        captions: a list of strings, each on one line, in the order of ``listing.files``.
        read: the files that they were read from, a set.
        remarks: sentences that count what does not fit: pictures without a caption, rows without a picture, doubles.
    Raises:
        DataError: more than half of the pictures have no caption, or none has a word; a file is not UTF-8; a row of the
            table has not two columns.
    """
    table, found, read, both = listing.folder / TABLE, [], set(), 0
    rows, doubles = _rows(table) if table.is_file() else ({}, 0)
    for file in listing.files:
        beside, row = file.with_suffix(".txt"), rows.pop(_key(file.relative_to(listing.folder).as_posix()), None)
        if beside.is_file():
            read.add(beside)
            both += row is not None
            row = _line(_read(beside))
        found.append(row)
    read |= {table} if table.is_file() else set()
    missing, n, where = found.count(None), len(found), f"pictures in {listing.folder}"
    if not any(found):
        raise DataError(f"none of the {n} {where} has a caption; {HOW}")
    if missing > n / 2:
        raise DataError(f"{missing} of the {n} {where} have no caption; {HOW}. An empty name.txt is a caption, too")
    counts = {
        "pictures without a caption, trained on with the empty one": missing,
        f"rows of {TABLE} that name no picture": len(rows),
        f"rows of {TABLE} that name a picture again; the first counts": doubles,
        f"pictures with a row of {TABLE} and a .txt; the .txt counts": both,
    }
    return [text or "" for text in found], read, [f"{count} {what}" for what, count in counts.items() if count]


def _rows(table):
    """(dict key of a file -> caption, how many rows named a file again) of a table of two columns."""
    rows, doubles = {}, 0
    reader = csv.reader(io.StringIO(_read(table), newline=""), strict=True, skipinitialspace=True)
    try:
        for row in reader:
            if not any(map(str.strip, row)):
                continue
            if len(row) != 2:
                raise DataError(
                    f"{table}, line {reader.line_num}: expected two columns, file,caption, got {len(row)}; "
                    'a caption with commas stands in quotes: a.png,"one, two"'
                )
            file, caption = row[0].strip(), _line(row[1])
            if (file.lower(), caption.lower()) == ("file", "caption"):
                continue
            doubles += _key(file) in rows
            rows.setdefault(_key(file), caption)
    except csv.Error as error:
        raise DataError(f"{table}, line {reader.line_num}: {error}; is a quote not closed?") from None
    return rows, doubles


def _key(name):
    """A name as it is compared: forward slashes, no ./, letters with their accents in one sign (a Mac has two)."""
    return unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).as_posix())


def _read(file):
    """The text of a UTF-8 file, with or without a byte order mark."""
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 (byte {error.start}); save it as UTF-8") from None


def _line(text):
    return " ".join(text.split())
