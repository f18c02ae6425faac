"""The command line: typer and rich over the functions that the HTTP routes use too.

A command's file also prints its tables. Importing this room loads no model library: each command
imports what it needs when it runs, because torch alone takes seconds and `lineup --help` should
answer at once.
"""

from api.terminal import (  # noqa: F401 -- each registers its commands
    backups,
    calibrations,
    checking,
    comparison,
    copies,
    corpora,
    demo,
    evaluate,
    indexes,
    ingest,
    inspection,
    jobs,
    lookups,
    models,
    search,
    service,
)
from api.terminal.application import app

__all__ = ["app"]
