"""What docstrings and comments refer to exists, and every reader of the repository can read it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "index", "embedder", "migrations", "tests")
FILES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
DOTTED = re.compile(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`")
RUN_MODULE = re.compile(rf"python3? -m ((?:{'|'.join(PACKAGES)})(?:\.\w+)*)")
QUOTED_NAME = re.compile(r"`([a-z_][a-z0-9_]*)`")
# Pages that lie outside the repository, and numbers of its tracker.
UNREADABLE = re.compile(
    r"\b(?:DESIGN|MODEL|HOUSE|STYLE)(?:\.md|\s+section)|\bissue\s+#?\d|\btrap\s+\d", re.IGNORECASE
)


@cache
def docstrings(path: Path) -> tuple[str, ...]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (
        ast.get_docstring(node) for node in ast.walk(_tree(path)) if isinstance(node, documented)
    )
    return tuple(text for text in found if text)


@cache
def comments(path: Path) -> tuple[str, ...]:
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return tuple(token.string for token in tokens if token.type == tokenize.COMMENT)


def names_in(body: list[ast.stmt]) -> set[str]:
    """The names that statements define: of a class also what its methods put on `self`."""
    names: set[str] = set()
    for node in body:
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                names.add(each.id)
            elif isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
                names.add(each.attr)
            elif isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(each.name)
            elif isinstance(each, ast.alias):
                names.add(each.asname or each.name)
    return names


def exists(dotted: str) -> bool:
    """Whether a name is a module or a package of the repository, or an attribute of one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if count == len(parts) and (place.is_dir() or module.exists()):
            return True
        if module.exists():
            return _has_attribute(_tree(module).body, parts[count:])
    return False


def _has_attribute(body: list[ast.stmt], parts: list[str]) -> bool:
    if len(parts) == 1:
        return parts[0] in names_in(body)
    classes = [each for each in body if isinstance(each, ast.ClassDef) and each.name == parts[0]]
    return any(_has_attribute(each.body, parts[1:]) for each in classes)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def test_the_check_knows_what_exists() -> None:
    assert exists("api.jobs")
    assert exists("api.jobs.task")
    assert exists("api.jobs.task.ToEmbed.payload")
    assert exists("index.cache.live.LiveIndex")
    assert not exists("api.jobs.nothing")
    assert not exists("api.jobs.task.Nothing")
    assert not exists("api.nothing.task")
    assert UNREADABLE.search("see issue 12") is not None


def test_every_module_that_a_docstring_names_exists() -> None:
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in FILES
        for text in (*docstrings(path), *comments(path))
        for name in DOTTED.findall(text)
        if not exists(name)
    ]

    assert not missing, "\n".join(missing)


def test_every_module_that_a_command_runs_exists() -> None:
    named = {
        name
        for path in (*FILES, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "Makefile")
        for name in RUN_MODULE.findall(path.read_text())
    }
    benchmarks = {name for name in named if name.startswith("tests.benchmarks.")}

    assert len(benchmarks) > 10
    assert not {name for name in named if not exists(name)}


@pytest.mark.parametrize(
    "package",
    [path.parent for path in FILES if path.name == "__init__.py" and path.parts[-2] != "tests"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_guide_of_a_package_names_only_what_is_in_it(package: Path) -> None:
    guide = ast.get_docstring(_tree(package / "__init__.py")) or ""
    there = {path.stem for path in package.iterdir()} | names_in(
        _tree(package / "__init__.py").body
    )

    assert set(QUOTED_NAME.findall(guide)) <= there


def test_no_docstring_or_comment_refers_to_a_page_outside_the_repository() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {text.strip()[:80]}"
        for path in FILES
        if path != Path(__file__)
        for text in (*docstrings(path), *comments(path))
        if UNREADABLE.search(text)
    ]

    assert not found, "\n".join(found)
