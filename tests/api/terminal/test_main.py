"""A command's process ends at once, but not before everything it does and writes is finished."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

# A thread writes when the command has ended already; nothing flushes that but the end itself.
COMMAND = """
import sys, threading
from api.terminal.__main__ import main

class Held:
    def __del__(self):
        print("freed")

def write_late():
    threading.main_thread().join()
    print("written late")

held = Held()
threading.Thread(target=write_late).start()
main()
"""


def run(output: int | IO[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that there is not: its exit code is 2."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "nothing"],
        stdout=output,
        stderr=subprocess.PIPE,
        env=buffered,
        text=True,
        check=False,
    )


def test_output_that_cannot_be_written_at_the_end_is_an_error() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("w") as output:
        done = run(output)
    assert done.returncode == 120
    assert "No space left" in done.stderr


def test_a_process_waits_for_its_threads_and_frees_nothing() -> None:
    done = run(subprocess.PIPE)
    assert done.returncode == 2
    assert done.stdout == "written late\n"
