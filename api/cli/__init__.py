"""The terminal skin: typer and rich over the same functions as the routes.

Importing this loads no model library; each command imports what it needs when it runs, so that `lineup --help` answers
at once (torch alone takes seconds).
"""

from api.cli import corpora, lookups, service  # noqa: F401 -- each module registers its commands
from api.cli.application import app

__all__ = ["app"]
