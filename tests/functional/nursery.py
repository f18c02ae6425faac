"""A process that forks children which are killed, and its other end: hundreds of kills without
loading anything anew.

The process imports once (a module with a `run(task)` that hands it to `nurse_tasks`) and forks a
child for each task that it reads from standard input. A task is JSON; `log` is where the child's
standard error goes, `seconds` its time to live, and `failpoint` with `passing` where it ends
itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from index import failpoints

ROOT = Path(__file__).parents[2]
SIGKILLED = -9
Task = dict[str, Any]


class Nursery:
    """The end of the test: starts the process that `module` is, and gives it tasks."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, tasks: list[Task]) -> list[int]:
        """Let a child work on each task, side by side; what each ended with."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(tasks) + "\n")
        self._process.stdin.flush()
        ends: list[int] = json.loads(self._process.stdout.readline())
        assert set(ends) <= {0, SIGKILLED}, Path(tasks[0]["log"]).read_text()[-3000:]
        return ends

    def close(self) -> None:
        self._process.communicate()


def die_as_told(task: Task) -> None:
    """Let this process kill itself at the n-th passing of the failpoint that its task names."""
    passed = 0

    def die(point: failpoints.Failpoint) -> None:
        nonlocal passed
        if point == task["failpoint"]:
            passed += 1
            if passed == task["passing"]:
                os.kill(os.getpid(), signal.SIGKILL)

    failpoints.install(die)


def nurse_tasks(run: Callable[[Task], None]) -> None:
    """The process: a child for each task of each line of standard input, and a line with what they
    ended with.
    """
    for line in sys.stdin:
        print(json.dumps(_nurse(json.loads(line), run)), flush=True)


def _nurse(tasks: list[Task], run: Callable[[Task], None]) -> list[int]:
    children = {_born(task, run): task for task in tasks}
    ends: dict[int, int] = {}
    deadline = {pid: time.monotonic() + task["seconds"] for pid, task in children.items()}
    while children.keys() - ends.keys():
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            ends[pid] = os.waitstatus_to_exitcode(status)
        for late in children.keys() - ends.keys():
            if time.monotonic() > deadline[late]:
                os.kill(late, signal.SIGKILL)
                deadline[late] += 60
        time.sleep(0.002)
    return [ends[pid] for pid in children]


def _born(task: Task, run: Callable[[Task], None]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        with Path(task["log"]).open("a") as log:
            os.dup2(log.fileno(), 2)
            run(task)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
