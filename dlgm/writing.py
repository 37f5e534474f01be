"""Files that are never half written."""

import os
from pathlib import Path


def atomically(path, write):
    """Let ``write`` fill a file beside ``path``, then put it in its place: a reader sees the old file or the new.

    Args:
        write: function of the path of the file to fill.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # two processes do not share one
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
