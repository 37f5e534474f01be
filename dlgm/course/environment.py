"""Is this computer ready for the course? ``report()`` looks, computes and says what helps where something is wrong.

It imports the standard library only and everything else inside functions, so that it also runs, and says so, where a
library is missing. The lower bounds of the versions are those of the installed package ``dlgm`` itself. Nothing here
raises, and nothing printed names a folder of this computer.
"""

import html
import os
import platform
import re
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_WITHOUT = {  # distribution -> what does not work without it
    "dlgm": "no lesson can import it and its libraries cannot be checked",
    "packaging": "versions cannot be compared",
    "torch": "no lesson runs",
    "numpy": "no lesson runs",
    "matplotlib": "no figure is drawn",
    "ipywidgets": "the sliders of the lessons do not appear",
    "tqdm": "no network can be trained",
    "safetensors": "trained networks cannot be loaded",
    "jupyterlab": "the lessons cannot be opened in JupyterLab",
    "ipykernel": "no cell of a lesson can run",
    "nbval": "the lessons cannot be tested; reading and running them is not affected",
    "pytest": "the tests cannot be run; the lessons are not affected",
    "hypothesis": "the tests cannot be run; the lessons are not affected",
    "ruff": "code cannot be formatted; the lessons are not affected",
}
_INSTALL = '%pip install -e "..[course]"'
_NO_GPU = "%env CUDA_VISIBLE_DEVICES=-1"


@dataclass(frozen=True)
class Row:
    """One thing looked at: its name, what was found; where that is not right, the problem and a command that helps."""

    name: str
    found: str
    problem: str = ""
    command: str = ""

    @property
    def ok(self):
        return not self.problem

    @property
    def state(self):
        return "ok" if self.ok else "look below"


@dataclass(frozen=True)
class Report:
    """What ``report`` found. Prints as aligned text and shows as a table in a notebook; ``ok`` if nothing is wrong."""

    rows: tuple[Row, ...]

    @property
    def ok(self):
        return all(row.ok for row in self.rows)

    @property
    def problems(self):
        """The rows that are not right."""
        return tuple(row for row in self.rows if not row.ok)

    @property
    def _verdict(self):
        if self.ok:
            return "Everything the course needs is here."
        n = len(self.problems)
        things = f"{n} things to put right" if n > 1 else "One thing to put right"
        return f"{things}. Run the command in a cell, restart the kernel after %pip, and call report() again."

    def __str__(self):
        name, found = (max((len(getattr(row, key)) for row in self.rows), default=0) for key in ("name", "found"))
        lines = [f"{row.name:{name}}  {row.found:{found}}  {row.state}" for row in self.rows]
        for row in self.problems:
            lines += ["", row.problem, f"    {row.command}"]
        return "\n".join([*lines, "", self._verdict])

    __repr__ = __str__

    def _repr_html_(self):
        cell, ink = "text-align:left;padding:2px 12px", "color:var(--jp-ui-font-color1, currentColor)"
        lines = []
        for row in self.rows:
            texts = (row.name, row.found, row.state)
            lines.append("<tr>" + "".join(f'<td style="{cell}">{html.escape(v)}</td>' for v in texts) + "</tr>")
        problems = "".join(
            f"<p>{html.escape(row.problem)}<br>"
            f'<code style="background:none;color:inherit">{html.escape(row.command)}</code></p>'
            for row in self.problems
        )
        head = "".join(f'<th style="{cell}">{v}</th>' for v in ("what", "found", "state"))
        table = f'<table style="{ink}"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
        return f'<div style="{ink}">{table}{problems}<p>{html.escape(self._verdict)}</p></div>'


def device():
    """Where to compute: ``cuda`` if a GPU is there, else ``cpu``.

    An Apple GPU (``mps``) is never chosen: it has no float64 numbers, and the exact checks of the course need them.

    Returns:
        A torch.device.
    """
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def report():
    """Check Python, the libraries, the device, one matrix product on it, and the data; takes a second or two.

    Returns:
        A Report. A check that fails is a row with a problem and a command, never an exception.
    """
    return Report((*_versions(), *_computing(), _data()))


# ---- versions ------------------------------------------------------------
def _requirements():
    """Python and all that dlgm depends on, the extra "course" included -> the versions that fit, a SpecifierSet.

    Raises:
        ImportError: packaging is missing, or, as PackageNotFoundError, dlgm itself.
    """
    from packaging.requirements import Requirement

    python = f"Python {metadata.metadata('dlgm')['Requires-Python']}"
    return {r.name: r.specifier for r in map(Requirement, [python, *(metadata.requires("dlgm") or [])])}


def _versions():
    """A row for Python and for each distribution that dlgm depends on."""
    try:
        return [_version(name, fitting) for name, fitting in _requirements().items()]
    except ImportError as error:
        name = "dlgm" if isinstance(error, metadata.PackageNotFoundError) else "packaging"
        return [Row("Python", platform.python_version()), _missing(name)]


def _version(name, fitting):
    try:
        found = platform.python_version() if name == "Python" else metadata.version(name) or "unknown"
    except metadata.PackageNotFoundError:
        return _missing(name)
    numbers = re.match(r"(\d+(\.\d+)*)?", found)[0] or "0"  # of 2.10.0a0+git, too: a nightly build has what 2.10 has
    if fitting.contains(numbers):
        return Row(name, found)
    older = f"{name} {found} is older than {str(fitting).removeprefix('>=')}"
    if name == "Python":
        problem = f"{older}, so parts of dlgm cannot be imported. In a terminal, in the folder of the course:"
        return Row(name, found, problem, "conda env create -f environment.yml")
    return Row(name, found, f"{older}, the oldest version that fits. It may be that {_without(name)}.", _install(name))


def _missing(name):
    return Row(name, "missing", f"{name} is not installed, so {_without(name)}.", _install(name))


def _without(name):
    return _WITHOUT.get(name, "a part of the course does not work")


def _install(name):
    """The command that installs a fitting version; of the whole course where none is known."""
    try:
        fitting = _requirements()[name]
    except (ImportError, KeyError):
        return _INSTALL
    return f'%pip install "{name}{fitting}"' if fitting else f"%pip install {name}"


# ---- device --------------------------------------------------------------
def _computing():
    """Rows for the device and for a matrix product on it; one row if torch cannot be used at all."""
    try:
        import torch

        where = device()
        row = Row("device", _describe(torch, where))
    except Exception as error:  # a broken installation fails in many ways, not only with ImportError
        problem = f"torch cannot be used, so no lesson runs: {_sentence(error)}"
        return [Row("device", "unknown", problem, _reinstall())]
    return [row, _product_row(where)]


def _describe(torch, where):
    cpu = f"cpu, {platform.machine()}, {torch.get_num_threads()} threads"
    if where.type == "cuda":
        return f"cuda, {torch.cuda.get_device_name(where)}; {cpu}"
    return f"{cpu}; the Apple GPU is not used (no float64)" if torch.backends.mps.is_available() else cpu


def _product_row(where):
    name = f"matrix product ({where.type})"
    if where.type == "cuda":
        command, remedy = _NO_GPU, "The lessons run on the CPU instead, with this as the first cell of a new kernel:"
    else:
        command, remedy = _reinstall(), "No result of a lesson can be trusted."
    try:
        error, milliseconds = matrix_product(where)
    except Exception as failure:  # drivers and kernels fail in many ways
        return Row(name, "failed", f"The {name} could not be computed: {_sentence(failure)} {remedy}", command)
    if error <= 1:
        return Row(name, f"correct to rounding, {milliseconds:.1f} ms")
    problem = f"The {name} is off by {error:.3g} times the most that rounding can cause. {remedy}"  # nan lands here too
    return Row(name, "wrong", problem, command)


def _reinstall():
    return _install("torch").replace("%pip install", "%pip install --force-reinstall")


def matrix_product(where, n=512):
    """Error and time of one n × n float32 product on a device.

    Whatever the order of its additions, a sum of n products in float32 is off by at most γ Σ_k |a_ik b_kj|, with
    γ = n u / (1 − n u) and u = 2⁻²⁴. It is compared with the float64 product of the same numbers on the CPU.

    Args:
        where: a torch.device.
        n: rows and columns.
    Returns:
        The largest error of an entry as a share of its bound (right if at most 1), and milliseconds, the best of three.
    Source: Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.5.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, n, generator=generator) for _ in range(2))
    on_a, on_b = a.to(where), b.to(where)
    times = []
    for _ in range(4):  # the first one starts the library and is not counted
        start = time.perf_counter()
        product = torch.matmul(on_a, on_b)
        if where.type == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    a, b, nu = a.double(), b.double(), n * 2.0**-24
    bound = nu / (1 - nu) * (a.abs() @ b.abs())
    return ((product.cpu().double() - a @ b).abs() / bound).max().item(), min(times[1:])


# ---- data ----------------------------------------------------------------
def _data():
    try:
        from .. import data

        x, _ = data.load("mnist")
    except ImportError as error:
        return Row("data", "not checked", f"The data cannot be read: {_sentence(error)}", _INSTALL)
    except Exception as error:  # DataError as a rule; a folder that may not be read raises OSError
        command = "%env DLGM_DATA=" if os.environ.get("DLGM_DATA") else "!git checkout -- :/data"
        place = ", in the folder that DLGM_DATA names" if os.environ.get("DLGM_DATA") else ""
        return Row("data", "not usable", f"Lessons with images stop{place}: {_sentence(error)}", command)
    return Row("data", f"mnist, {len(x):,} training images")


def _sentence(error):
    """The first line of an exception as a sentence, without ways back and without folders of this computer."""
    text = (str(error).strip() or type(error).__name__).split("\n")[0].split(" To get it back:")[0]
    chosen = os.environ.get("DLGM_DATA") or ""
    ours = [chosen, os.path.normpath(chosen), str(Path(__file__).resolve().parents[2])]
    for folder in sorted(filter(os.path.isabs, ours), key=len, reverse=True):
        text = text.replace(folder.rstrip(os.sep) + os.sep, "").replace(folder, "the folder")
    text = re.sub(r"""(['"])(?:[A-Za-z]:)?[/\\][^'"]*[/\\]([^'"/\\]+)\1""", r"\2", text)  # in quotes, with spaces
    text = re.sub(r"""(?<![\w:/.])(?:[A-Za-z]:)?[/\\](?:[^\s'"/\\]+[/\\])*(?=[^\s/\\])""", "", text)
    return text if text.endswith(".") else f"{text}."
