"""The browser that the tests of the page share, and one demonstration for the whole run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.conftest import unavailable
from tests.functional.browsing import CHROMIUM_ARGUMENTS

ROOT = Path(__file__).parents[2]
# README.md and the pages of docs/ show what a terminal of this width prints in this precision,
# which every processor has.
DEMONSTRATION_ENVIRONMENT = {"COLUMNS": "100", "LINEUP_PRECISION": "float32"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        unavailable("chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `lineup demo` ran from nothing, with what it printed in `printed`.

    The demonstration takes half a minute, so the processes of pytest-xdist share one. Copy it:
    no test changes it.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / "demonstration"
    with (shared / "demonstration.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "printed").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            (folder / "printed").write_text(_run_demonstration(folder), encoding="utf-8")
    return folder


def _run_demonstration(folder: Path) -> str:
    """What `lineup demo` prints, as a process of its own with the default settings."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("LINEUP_")}
    done = subprocess.run(
        [sys.executable, "-m", "api.terminal", "demo", "--offline"],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        cwd=folder,
        env={**ours, "PYTHONPATH": str(ROOT), **DEMONSTRATION_ENVIRONMENT},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
