"""The environment report: each thing that can be wrong is named, with the command that helps, and nothing raises."""

import builtins
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from dlgm.course import environment
from dlgm.course.environment import Report, Row, device, matrix_product, report


def problem_of(name):
    """The one problem in a report, which must carry this name."""
    (row,) = report().problems
    assert row.name == name
    return row


@pytest.fixture
def installed(monkeypatch):
    """Replace the version of one distribution; None stands for missing."""

    def pretend(name, version):
        def lookup(asked, real=metadata.version):
            if asked != name:
                return real(asked)
            if version is None:
                raise metadata.PackageNotFoundError(asked)
            return version

        monkeypatch.setattr(metadata, "version", lookup)

    return pretend


@pytest.fixture
def requirements(monkeypatch):
    """Replace what dlgm depends on; None stands for dlgm not installed."""

    def pretend(lines):
        def lookup(asked):
            if lines is None:
                raise metadata.PackageNotFoundError(asked)
            return lines

        monkeypatch.setattr(metadata, "requires", lookup)

    return pretend


def test_a_good_computer_has_a_row_for_each_requirement_and_no_problem():
    r = report()
    assert r.ok and not r.problems and "Everything the course needs is here." in str(r)
    names = [row.name for row in r.rows]
    assert names[0] == "Python" and names[-3:] == ["device", f"matrix product ({device().type})", "data"]
    required = {re.match(r"[\w-]+", line)[0] for line in metadata.requires("dlgm")}
    assert required == set(names[1:-3]) and {"torch", "nbval"} <= required
    found = {row.name: row.found for row in r.rows}
    assert found["torch"] == metadata.version("torch") and "9,000" in found["data"]
    assert f"{torch.get_num_threads()} threads" in found["device"]


def test_a_missing_package_is_named_with_what_stops_and_the_command(installed):
    installed("nbval", None)
    row = problem_of("nbval")
    assert row.found == "missing" and "not installed" in row.problem and "cannot be tested" in row.problem
    assert row.command == '%pip install "nbval>=0.11"' and row.command in str(report())


@pytest.mark.parametrize("old", ["2.3.1+cpu", "2.3", "1.13.1", "unknown"])
def test_an_old_package_is_named_with_both_versions(installed, old):
    installed("torch", old)
    row = problem_of("torch")
    assert old in row.problem and "older than 2.4" in row.problem and row.command == '%pip install "torch>=2.4"'


@pytest.mark.parametrize("new", ["2.4", "2.4.0", "2.4.0a0+3bcc.nv24.07", "2.10.0a0+git1", "3.0.dev1"])
def test_versions_are_compared_as_numbers_not_as_text(installed, new):
    installed("torch", new)
    assert report().ok


def test_bounds_come_from_the_installed_package(requirements, installed):
    """No second list: a bound raised in the metadata is what the report asks for; an unknown name needs no entry."""
    requirements(["numpy>=99.5", 'somewhat-new[all] ; extra == "course"', "tqdm"])
    installed("tqdm", "unknown")  # fits where nothing is asked for
    numpy, unknown = report().problems
    assert "older than 99.5" in numpy.problem and numpy.command == '%pip install "numpy>=99.5"'
    assert (unknown.name, unknown.command) == ("somewhat-new", "%pip install somewhat-new")


def test_dlgm_not_installed(requirements):
    requirements(None)
    row = problem_of("dlgm")
    assert row.found == "missing" and row.command == '%pip install -e "..[course]"'


@pytest.mark.parametrize("name", ["packaging", "packaging.requirements"])
def test_packaging_is_missing(monkeypatch, name):
    for known in [known for known in sys.modules if known.partition(".")[0] == "packaging"]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, name, None)  # what is imported then raises ModuleNotFoundError
    row = problem_of("packaging")
    assert row.found == "missing" and "compared" in row.problem and row.command == '%pip install -e "..[course]"'


@pytest.mark.parametrize("built", ["3.14.0b1", "3.13.0+"])
def test_a_python_built_from_git_is_not_old(monkeypatch, built):
    monkeypatch.setattr(platform, "python_version", lambda: built)
    assert report().ok


def test_old_python(monkeypatch):
    monkeypatch.setattr(platform, "python_version", lambda: "3.10.14")
    row = problem_of("Python")
    assert "3.10.14 is older than 3.11" in row.problem and "conda env create" in row.command


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda a, b: (a.bfloat16() @ b.bfloat16()).float(), "times the most that rounding can cause"),
        (lambda a, b: (a @ b).index_add_(0, torch.tensor([7]), torch.full((1, 512), 0.01)), "times the most"),
        (lambda a, b: a @ b.T, "times the most"),
        (lambda a, b: a @ b * torch.nan, "nan times the most"),
        (lambda a, b: torch.zeros(2) @ b, "could not be computed: .*shape"),
    ],
    ids=["bfloat16", "one row off", "transposed", "nan", "raises"],
)
def test_a_wrong_matrix_product_is_noticed(monkeypatch, wrong, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "matmul", wrong)
    row = problem_of("matrix product (cpu)")
    assert re.search(words, row.problem) and row.command == '%pip install --force-reinstall "torch>=2.4"'


def test_the_bound_of_the_product_holds_for_any_order_of_its_additions(monkeypatch):
    """Right products of other kinds pass: summed one after the other in float32, and rounded once from float64."""

    def one_by_one(a, b):
        total = torch.zeros(a.shape[0], b.shape[1])
        for k in range(a.shape[1]):
            total += a[:, k, None] * b[k]
        return total

    for right in (one_by_one, lambda a, b: (a.double() @ b.double()).float()):
        monkeypatch.setattr(torch, "matmul", right)
        error, milliseconds = matrix_product(torch.device("cpu"), n=96)
        assert 0 < error <= 1 and milliseconds > 0


def test_a_gpu_that_does_not_work(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda where: "Old <GPU> 1")

    def fails(where, n=512):
        raise RuntimeError("CUDA error: no kernel image is available\nCompile with an option to see more")

    monkeypatch.setattr(environment, "matrix_product", fails)
    r = report()
    (row,) = r.problems
    assert row.name == "matrix product (cuda)" and row.command == "%env CUDA_VISIBLE_DEVICES=-1"
    assert "no kernel image is available. The lessons run on the CPU" in row.problem and "Compile" not in row.problem
    assert "Old <GPU> 1" in str(r) and "Old &lt;GPU&gt; 1" in r._repr_html_() and "<GPU>" not in r._repr_html_()


def test_device_prefers_cuda_and_never_takes_mps(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device() == torch.device("cpu")
    (row,) = (row for row in report().rows if row.name == "device")
    assert row.ok and "Apple GPU is not used" in row.found
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device() == torch.device("cuda")


@pytest.mark.parametrize("failure", [ImportError("No module named 'torch'"), OSError("libc10.so: no such file")])
def test_torch_that_cannot_be_imported(monkeypatch, failure):
    def refuse(name, *rest, real=builtins.__import__):
        if name == "torch":
            raise failure
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    row = environment.report().problems[0]
    assert row.name == "device" and str(failure) in row.problem and "force-reinstall" in row.command


def test_missing_data_with_a_folder_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("DLGM_DATA", str(tmp_path))
    row = problem_of("data")
    assert "MANIFEST.json is missing" in row.problem and "DLGM_DATA" in row.problem
    assert row.command == "%env DLGM_DATA="
    monkeypatch.setenv("DLGM_DATA", "")  # what the command does
    assert report().ok


def test_damaged_data_of_the_course(monkeypatch, tmp_path):
    """The loader's own sentence is shown; the command restores the shipped files."""
    from dlgm import data

    manifest = (data.data_folder() / "MANIFEST.json").read_bytes()
    (tmp_path / "MANIFEST.json").write_bytes(manifest)
    (tmp_path / "mnist.npz").write_bytes(b"cut short")
    monkeypatch.setattr(data.stored, "data_folder", lambda: tmp_path)
    row = problem_of("data")
    assert "mnist.npz is truncated: 9 of" in row.problem and row.command == "!git checkout -- :/data"


def test_nothing_shown_names_a_folder_of_this_computer(monkeypatch, tmp_path):
    folder = tmp_path / "Jane Doe"
    folder.mkdir()
    monkeypatch.setenv("DLGM_DATA", str(folder))
    for text in (str(report()), report()._repr_html_()):
        assert "Jane" not in text and str(tmp_path) not in text and str(Path.home()) not in text
    for message in (
        "[Errno 13] Permission denied: '/home/Jane Doe/x/y.npz'",
        "cannot open /opt/Jane/lib/y.npz or C:\\Users\\Jane\\y.npz",
        f"{folder}/y.npz is missing",
    ):
        shown = environment._sentence(OSError(message))
        assert "Jane" not in shown and "y.npz" in shown and shown.endswith(".")
    assert environment._sentence(ValueError("3/4 of x, see https://a.b/c")) == "3/4 of x, see https://a.b/c."


def test_text_is_aligned_and_html_escaped():
    r = Report((Row("a", "1.0"), Row("longer", "<b>2</b>", "x < y & z.", '%pip install "a>=1"')))
    first, second = str(r).split("\n")[:2]
    assert first.index("1.0") == second.index("<b>") and first.index("ok") == second.index("look below")
    assert repr(r) == str(r) and not r.ok and "One thing to put right" in str(r)
    page = r._repr_html_()
    assert "&lt;b&gt;2&lt;/b&gt;" in page and "x &lt; y &amp; z." in page and "%pip install &quot;a&gt;=1&quot;" in page
    assert "<b>2" not in page and "var(--jp-ui-font-color1, currentColor)" in page
    assert re.findall(r"background:([^;\"]+)", page) == ["none"]  # light and dark themes keep their own
