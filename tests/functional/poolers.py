"""PgBouncer before the test's PostgreSQL, run from Debian's package."""

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

from sqlalchemy import URL, make_url

PROGRAM = Path("/usr/sbin/pgbouncer")
SERVER_SESSIONS = 3  # fewer than the clients of a test, so that sessions change hands


@contextmanager
def open_pooler(database_url: str, mode: str) -> Iterator[str]:
    """Run a pooler in a mode (`session`, `transaction`) and give the URL of the database behind
    it.

    Nothing is ignored of what a client sends at its start.
    """
    behind = make_url(database_url)
    folder = Path(tempfile.mkdtemp(prefix="lineup-pooler-"))
    (folder / "users").write_text(f'"{behind.username}" ""\n')
    (folder / "pooler.ini").write_text(
        f"""
[databases]
* = host={behind.query["host"]} port={behind.query.get("port", 5432)} user={behind.username}
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {SERVER_SESSIONS if mode == "transaction" else 20}
"""
    )
    # It refuses to run as root, like PostgreSQL.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        for path in (folder, *folder.iterdir()):
            os.chown(path, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    pooler = subprocess.Popen(
        [PROGRAM, folder / "pooler.ini"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=folder,
        user=user,
        group=user,
        extra_groups=[] if user else None,
    )
    try:
        socket, deadline = folder / ".s.PGSQL.6432", time.monotonic() + 10
        while not socket.exists():
            if pooler.poll() is not None or time.monotonic() > deadline:
                pooler.kill()
                raise RuntimeError(f"no pooler: {pooler.communicate()[1].decode()}")
            time.sleep(0.02)
        url = URL.create(
            "postgresql",
            behind.username,
            database=behind.database,
            query={"host": str(folder), "port": "6432"},
        )
        yield url.render_as_string(hide_password=False)
    finally:
        pooler.terminate()
        pooler.communicate(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)
