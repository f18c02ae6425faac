"""The terminal skin: typer and rich over the same functions as the routes.

Importing this loads no model library; each command imports what it needs when it runs, so that `lineup --help` answers
at once (torch alone takes seconds).
"""

from api.cli import service, ingest, jobs, corpora, hygiene, lookups, calibrations, indexes, evaluate, backups  # noqa: F401, I001 -- each registers its commands, in the order of the help
from api.cli.application import app

__all__ = ["app"]
