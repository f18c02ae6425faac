"""The process of a command, `lineup` or `python -m api.terminal`: how it begins and ends."""

from __future__ import annotations

import atexit
import os
import sys

from api.interpreter import search_cycles_rarely
from api.terminal import app


def main() -> None:
    """Run the command that this process was started for, and end the process."""
    end = _End()
    atexit.register(end.leave)
    search_cycles_rarely()
    try:
        app(prog_name="lineup")
    except SystemExit as err:
        end.code = err.code if isinstance(err.code, int) else None
        raise


class _End:
    """The end of a process in which everything is closed and no thread runs any more.

    Python would free all that modules hold: 0.2 s where torch is among them (2026-12-01).
    """

    code: int | None = None  # None: the interpreter ends the process as usual

    def leave(self) -> None:
        """End the process, if all that it wrote could be written; otherwise Python says so.

        `atexit` calls it when threads have ended, and after what was registered later.
        """
        if self.code is None:
            return
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        except (OSError, ValueError):
            return
        os._exit(self.code)


if __name__ == "__main__":
    main()
