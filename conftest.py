"""How the tests are run: what ``pytest tests`` leaves out, on how many processes; and did all that was found run?"""

import os
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parent / "tests"


def _is_quick(config):
    """``pytest tests`` and no more: what a developer runs all day."""
    whole = [Path(a).resolve() for a in config.args] == [TESTS.resolve()]
    return whole and not config.option.keyword and not config.option.markexpr


def pytest_xdist_auto_num_workers(config):
    """Processes for ``-n auto``: two for a whole run, none where one file or one lesson is asked for."""
    whole = all(Path(a).is_dir() for a in config.args) and not config.option.keyword
    return 2 if whole else 0


def pytest_collection_modifyitems(config, items):
    if _is_quick(config):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if item not in set(slow)]
        config.hook.pytest_deselected(items=slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """A cell that took too long fails, also where its code caught the interrupt, as ``fit`` does."""
    late = getattr(item.parent, "timed_out", False)
    result = yield
    if not late and getattr(item.parent, "timed_out", False):
        pytest.fail(f"the cell took longer than {item.config.option.nbval_cell_timeout:g} s and was interrupted")
    return result


class Count:
    """What was found against what was run: a process that ends early must not look like success."""

    def __init__(self):
        self.found, self.done = set(), Counter()

    def pytest_collection_finish(self, session):
        self.found |= {item.nodeid for item in session.items}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node, ids):
        self.found |= set(ids)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed" and report.when == "setup":
            self.done[report.nodeid] += 1

    def pytest_sessionfinish(self, session):
        if session.config.option.collectonly or hasattr(session.config, "workerinput"):
            return
        self.missing = sorted(self.found - set(self.done)) if session.exitstatus == 0 else []
        if self.missing:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter, config):
        if config.option.collectonly:
            return
        left = len(terminalreporter.stats.get("deselected", []))
        words = f", {left} slow ones left out (plain `pytest` runs them)" if left and _is_quick(config) else ""
        terminalreporter.write_line(f"{len(self.found)} tests found, {len(set(self.done) & self.found)} run{words}")
        for name in getattr(self, "missing", [])[:20]:
            terminalreporter.write_line(f"not run: {name}", red=True)


def pytest_configure(config):
    if hasattr(config, "workerinput"):  # two kernels of two threads each wait for one another: seven times slower
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    config.pluginmanager.register(Count(), "count")
