"""A streaming replica of the test's PostgreSQL, from the programs of its package."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import NullPool, create_engine, make_url, text

START_SECONDS = 30.0


@contextmanager
def open_replica(primary_url: str) -> Iterator[str]:
    """Copy the server of a URL, follow it, and give the URL of the same database in the copy."""
    primary = make_url(primary_url)
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    user = "postgres" if os.geteuid() == 0 else None
    as_user = {"user": user, "group": user, "extra_groups": [] if user else None}
    folder = Path(tempfile.mkdtemp(prefix="lineup-replica-"))
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    host, role = primary.query["host"], primary.username
    copy = [programs / "pg_basebackup", "-h", host, "-U", role, "-D", folder / "data"]
    subprocess.run(
        [*copy, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"],
        check=True,
        capture_output=True,
        cwd=folder,
        **as_user,
    )
    options = ["-k", folder, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "port=5432"]
    server = subprocess.Popen(
        [programs / "postgres", "-D", folder / "data", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        **as_user,
    )
    url = primary.set(query={"host": str(folder)}).render_as_string(hide_password=False)
    try:
        wait_for(url, server)
        yield url
    finally:
        server.terminate()
        server.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with engine.connect() as conn:
                conn.execute(text("SELECT 1"))
                return
        except Exception:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
