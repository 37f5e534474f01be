"""The docstring of ``dlgm`` is the map of the package: complete, and no file imports what stands below it."""

import ast
import pkgutil
import re
from pathlib import Path

import dlgm

ROOT = Path(dlgm.__file__).parent
ORDER = re.findall(r"(?m)^    ([a-z]+(?:\.\*)?)(?: |$)", dlgm.__doc__)


def place(module):
    """Where a dotted name below dlgm stands in the map."""
    first, *rest = module.split(".")
    return ORDER.index("plots.*" if first == "plots" and rest else first)


def imports(path):
    """Dotted names below dlgm that a file imports, wherever the import stands."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "dlgm"):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            own = (node.module or "").split(".") if node.module else []
            module = [*base, *(own if node.level else own[1:])]
            for alias in node.names:
                inside = ROOT.joinpath(*module, f"{alias.name}.py"), ROOT.joinpath(*module, alias.name)
                yield ".".join([*module, alias.name] if any(p.exists() for p in inside) else module)
        if isinstance(node, ast.Import):
            yield from (a.name.removeprefix("dlgm.") for a in node.names if a.name.startswith("dlgm."))


def test_the_map_names_every_module_once():
    modules = {m.name for m in pkgutil.iter_modules(dlgm.__path__)}
    assert sorted(n for n in ORDER if n != "plots.*") == sorted(modules) and len(set(ORDER)) == len(ORDER)


def test_a_file_imports_only_what_stands_above_it():
    wrong, seen = [], 0
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name == "__init__":
            continue
        for module in imports(path):
            seen += 1
            if module and place(module) >= place(name) and module.split(".")[0] != name.split(".")[0]:
                wrong.append(f"{name} imports {module}")
    assert seen > 150 and wrong == []


def test_no_lessons_file_imports_another_lessons():
    shared = {"__init__", "__main__", "engine", "inputs"}
    lessons = {p.stem for folder in ("plots", "exercises") for p in (ROOT / folder).glob("*.py")} - shared
    rooms = ("plots", "exercises", "course")
    for folder in ("plots", "exercises"):
        for path in (ROOT / folder).glob("*.py"):
            if path.stem in lessons:
                named = [m for m in imports(path) if m.split(".")[0] in rooms]  # dlgm.restoration is no lesson
                found = [m for m in named if m.split(".")[-1] in lessons - {path.stem}]
                assert found == [], f"{folder}/{path.name} imports {found}"


def test_the_house_style_imports_nothing_of_the_package():
    assert list(imports(ROOT / "plots" / "__init__.py")) == []
