"""The terminal skin: typer and rich over the same functions as the routes.

Importing this loads no model library; each command imports what it needs when it runs, so that
`lineup --help` answers at once (torch alone takes seconds).
"""

from api.terminal import (  # noqa: F401, I001 -- each registers its commands, in this order of --help
    service,
    ingest,
    jobs,
    corpora,
    inspection,
    lookups,
    calibrations,
    indexes,
    evaluate,
    backups,
)
from api.terminal.application import app

__all__ = ["app"]
