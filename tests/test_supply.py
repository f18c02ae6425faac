"""What an installation is made of: every package is locked with its hashes, and can be listed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("constraints.txt", ".ci/constraints.txt")
PLATFORMS = [
    {"sys_platform": system, "platform_machine": machine, "python_full_version": f"{python}.9"}
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
    for python in ("3.11", "3.12", "3.13")
]


def blocks(lock: str) -> Iterator[tuple[Requirement, list[str]]]:
    """The packages of a lock with their hashes; any other line is an error."""
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / lock).read_text())
    for block in re.split(r"(?m)^(?=[A-Za-z0-9])", text):
        if block:
            first, *hashes = (line.strip().rstrip("\\ ") for line in block.splitlines())
            yield Requirement(first), hashes


def dependencies(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [text for extra in extras for text in project["optional-dependencies"][extra]]
    found = map(Requirement, [*project["dependencies"], *named])
    return [each for each in found if each.name != project["name"]]


@pytest.mark.parametrize("lock", [*LOCKS, ".ci/descriptors.txt"])
def test_a_lock_holds_exact_versions_and_hashes_and_names_no_place(lock: str) -> None:
    for requirement, hashes in blocks(lock):
        (pinned,) = requirement.specifier
        assert pinned.operator == "=="
        assert requirement.url is None
        assert hashes, requirement
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes)
    assert "://" not in (ROOT / lock).read_text()


@pytest.mark.parametrize(
    ("locks", "extras"),
    [
        (LOCKS[:1], ("copies", "demo", "evaluate", "heic", "postgres")),
        (LOCKS, ("copies", "demo", "evaluate", "heic", "lint", "postgres", "test")),
    ],
)
def test_every_dependency_is_locked_at_a_version_that_fits(
    locks: tuple[str, ...], extras: tuple[str, ...]
) -> None:
    """If this fails after a change of pyproject.toml: `make constraints`."""
    locked = defaultdict(list)
    for lock in locks:
        for requirement, _ in blocks(lock):
            locked[canonicalize_name(requirement.name)].append(requirement)
    for wanted in dependencies(*extras):
        found = locked[canonicalize_name(wanted.name)]
        assert found, f"{wanted}: not locked"
        for requirement in found:
            (pinned,) = requirement.specifier
            assert wanted.specifier.contains(pinned.version), f"{wanted}: {requirement}"


def test_a_package_has_one_version_on_each_platform_and_pytorch_no_cuda() -> None:
    for platform in PLATFORMS:
        chosen: dict[str, set[str]] = defaultdict(set)
        for lock in LOCKS:
            for requirement, _ in blocks(lock):
                if requirement.marker is None or _holds(requirement.marker, platform):
                    chosen[requirement.name].add(str(requirement.specifier))
        assert all(len(versions) == 1 for versions in chosen.values())
        assert not [name for name in chosen if name.startswith(("nvidia-", "cuda-", "triton"))]
        is_x86_linux = platform["sys_platform"] == "linux" and (
            platform["platform_machine"] == "x86_64"
        )
        if not is_x86_linux or platform["python_full_version"].startswith("3.11"):
            (torch,) = chosen["torch"]
            assert torch.endswith("+cpu") is is_x86_linux


def _holds(marker: Marker, platform: dict[str, str]) -> bool:
    return marker.evaluate({"platform_python_implementation": "CPython", **platform})


def test_the_bill_of_materials_lists_what_is_installed(tmp_path: Path) -> None:
    """The command of `make sbom`, run for an environment of two packages."""
    recipe = re.search(r"(?m)^\t(\$\(BIN\)/cyclonedx-py .*)$", (ROOT / "Makefile").read_text())
    assert recipe is not None
    environment = tmp_path / "small"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    for name in ("ssrfguard", "fsspec"):
        (facts,) = Path(sysconfig.get_path("purelib")).glob(f"{name}-*.dist-info")
        shutil.copytree(facts, packages / facts.name)
    command = [
        word.replace("$(BIN)/python", str(environment / "bin" / "python"))
        .replace("$(BIN)", str(Path(sys.executable).parent))
        .replace("build/sbom.json", str(tmp_path / "sbom.json"))
        for word in shlex.split(recipe[1])
    ]

    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    bill = json.loads((tmp_path / "sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["specVersion"] >= "1.5"
    assert bill["metadata"]["component"]["name"] == "lineup-forensics"
    parts = {part["name"]: part for part in bill["components"]}
    for name in ("ssrfguard", "fsspec"):
        assert parts[name]["version"] == version(name)
        assert parts[name]["purl"] == f"pkg:pypi/{name}@{version(name)}"
        assert parts[name]["licenses"]
    assert "file:" not in json.dumps(bill)


def test_what_the_tasks_write_stays_out_of_the_repository() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/build/", "dist/"} <= set(ignored)
