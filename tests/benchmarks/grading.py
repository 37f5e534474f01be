"""What grading costs: submissions a minute and peak memory, ours beside nbgrader's autograde on the same notebooks.

    python tests/benchmarks/grading.py hw1_elbo_and_vaes --submissions 200 --jobs 2 --nbgrader 5

The submissions are the master with every third answer taken out in turn; slow parts (more than 10 s allowed) are left
out of all unless --slow. nbgrader, where it is installed, grades the first few, one after the other, as it does.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from dlgm.grading import assignment, batch, export


class Peak(threading.Thread):
    """The largest resident memory of this process and its children, sampled five times a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.bytes, self._ended = 0, threading.Event()

    def run(self):
        me = psutil.Process()
        while not self._ended.wait(0.2):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
            self.bytes = max(self.bytes, total)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join()


def notebooks(master, count, slow):
    """The submissions: notebooks as dicts."""
    graded = [p for p in master.parts if not p.by_hand]
    left_out = {p.name for p in graded if p.exercise.seconds > 10 and not slow}
    for i in range(count):
        notebook = json.loads(json.dumps(master.notebook))
        missing = left_out | {p.name for k, p in enumerate(graded) if k % 3 == i % 3}
        for cell in notebook["cells"]:
            name = assignment.meta(cell).get("grade_id")
            if name in missing:
                cell["source"] = f"def {name}(*args):\n    raise NotImplementedError"
        yield notebook


def main():
    """Grade, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("assignment", choices=assignment.masters())
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--nbgrader", type=int, default=5, help="submissions that nbgrader grades (%(default)s)")
    parser.add_argument("--slow", action="store_true", help="keep the parts that train something")
    args = parser.parse_args()
    master = assignment.load(args.assignment)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        made = list(notebooks(master, args.submissions, args.slow))
        for i, notebook in enumerate(made):
            path = folder / "in" / f"student{i:03d}.ipynb"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(notebook))
        with Peak() as peak:
            start = time.monotonic()
            results, isolated, *_ = batch.run(
                folder / "in", args.assignment, folder / "out", jobs=args.jobs, salt="bench"
            )
            ours = (time.monotonic() - start) / len(results)
        print(f"ours, {args.jobs} jobs: {ours:.2f} s a submission, peak {peak.bytes / 2**20:.0f} MiB, {isolated=}")
        if not shutil.which("nbgrader") or not args.nbgrader:
            return
        course = folder / "course"
        export.nbgrader(args.assignment, course)

        def nbgrader(*words):
            subprocess.run(["nbgrader", *words], cwd=course, check=True, stdout=sys.stderr)

        nbgrader("generate_assignment", args.assignment)
        for i, notebook in enumerate(made[: args.nbgrader]):
            path = course / "submitted" / f"student{i:03d}" / args.assignment / f"{args.assignment}.ipynb"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(notebook))
        with Peak() as peak:
            start = time.monotonic()
            nbgrader("autograde", args.assignment)
            theirs = (time.monotonic() - start) / args.nbgrader
        print(f"nbgrader: {theirs:.2f} s a submission ({theirs / ours:.1f} × ours), peak {peak.bytes / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
