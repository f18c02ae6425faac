"""Damage to files, drawn from a seed, and every way to read them afterwards.

`Reader.read_all` runs commands in this process, and routes of a server that is opened on the
damaged folder. It returns what was answered as a defect: an error without a type.
"""

from __future__ import annotations

import json
import random
import shutil
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastapi.testclient import TestClient

from api.http.app import create_app
from api.problems import EXIT_DEFECT, problem_of
from api.settings import Settings
from index.errors import CorpusError
from tests.functional.terminal import lineup

PAGE = 4096  # bytes of a page of SQLite
KINDS = ("flip", "flip", "flip", "byte", "zeros", "cut")


@dataclass(frozen=True, slots=True)
class Damage:
    """One change of a file; `detail` is the bit, the new byte, or unused."""

    path: Path
    kind: str
    offset: int
    detail: int = 0

    def apply(self) -> None:
        """Damage the file. Nothing else about it changes."""
        content = bytearray(self.path.read_bytes())
        match self.kind:
            case "flip":
                content[self.offset] ^= 1 << self.detail
            case "byte":
                content[self.offset] = self.detail
            case "zeros":
                start = self.offset // PAGE * PAGE
                end = min(start + PAGE, len(content))
                content[start:end] = bytes(end - start)
            case "cut":
                del content[self.offset :]
        self.path.write_bytes(content)


def draw_damage(paths: Sequence[Path], draw: random.Random) -> Damage:
    """Draw one damage of one of the files; an eighth are in the first page, with the schema."""
    path = draw.choice(paths)
    size = path.stat().st_size
    most = min(size, PAGE) if draw.random() < 1 / 8 else size
    kind = draw.choice(KINDS)
    return Damage(path, kind, draw.randrange(most), draw.randrange(8 if kind == "flip" else 256))


@dataclass
class Reader:
    """Reads a data folder in every way. `names` are ids and names that it holds."""

    data: Path
    probe: Path
    lookup: str
    corpus: str
    images: Sequence[str] = ()
    defects: list[str] = field(default_factory=list)

    def commands(self) -> dict[str, list[object]]:
        """Return the arguments of each command by its name."""
        out = self.data.parent / "out"
        return {
            "fsck": ["fsck"],
            "repair": ["fsck", "--repair"],
            "search": ["search", self.probe],
            "corpora": ["corpora"],
            "entries": ["entries", "list", self.corpus],
            "entry": ["entries", "show", 3],
            "jobs": ["jobs"],
            "job": ["jobs", "show", 1],
            "calibrations": ["calibrations"],
            "calibration": ["calibrations", "show", 1],
            "show": ["show", self.lookup],
            "replay": ["replay", self.lookup],
            "inspect": ["inspect", self.corpus],
            "export": ["export", self.corpus, "--output", out / "x.parquet", "--force"],
            "backup": ["backup", out / "b.tar", "--force"],
            "doctor": ["doctor"],
            "ingest": ["ingest", self.probe, "--corpus", self.corpus],
            "init": ["init"],
        }

    def routes(self) -> list[tuple[str, str]]:
        """Return method and path of each route that reads."""
        return [
            ("GET", "/readyz"),
            ("GET", "/v1/corpora"),
            ("GET", f"/v1/corpora/{self.corpus}"),
            ("GET", f"/v1/corpora/{self.corpus}/entries"),
            ("GET", f"/v1/corpora/{self.corpus}/inspection"),
            ("GET", f"/v1/corpora/{self.corpus}/quarantine"),
            ("GET", f"/v1/corpora/{self.corpus}/export"),
            ("GET", "/v1/entries/3"),
            *(("GET", f"/v1/entries/{entry}/thumbnail") for entry in (57, 58, 59)),
            ("GET", "/v1/jobs"),
            ("GET", "/v1/jobs/1"),
            ("GET", "/v1/jobs/1/items"),
            ("GET", "/v1/calibrations"),
            ("GET", "/v1/calibrations/1"),
            ("GET", f"/v1/lookups/{self.lookup}"),
            ("POST", f"/v1/lookups/{self.lookup}/replay"),
            ("GET", "/v1/index"),
            ("GET", "/v1/models"),
            ("GET", "/v1/doctor"),
            ("POST", "/v1/lookups"),
        ]

    def run(self, name: str) -> None:
        """Run one command."""
        (self.data.parent / "out").mkdir(exist_ok=True)
        done = lineup(self.data, *self.commands()[name])
        err = done.exception
        if done.exit_code == EXIT_DEFECT or not (err is None or isinstance(err, SystemExit)):
            cause = err.__cause__ or err.__context__ or err if err else None
            told = "".join(traceback.format_exception(cause)) if cause else done.stderr
            self.defects.append(f"`{name}`: {told[-1800:]}")

    def serve(self) -> None:
        """Open a server on the folder and ask every route; a refusal to start must have a type."""
        settings = Settings(data_dir=self.data, offline=True, server_works=False)
        app = create_app(settings)
        try:
            with TestClient(
                app, base_url="http://localhost", raise_server_exceptions=False
            ) as client:
                for method, path in self.routes():
                    self._ask(client, method, path)
        except CorpusError:
            return
        except Exception as err:
            if problem_of(err).exit_code == EXIT_DEFECT:
                self.defects.append("serve: " + "".join(traceback.format_exception(err))[-1800:])

    def _ask(self, client: TestClient, method: str, path: str) -> None:
        content = self.probe.read_bytes() if path == "/v1/lookups" else None
        headers = {"Content-Type": "image/jpeg"} if content else {}
        headers["X-Requested-By"] = "test"
        try:
            answer = client.request(method, path, content=content, headers=headers)
        except Exception as err:  # a stream that breaks off after its first bytes
            if problem_of(err).exit_code == EXIT_DEFECT:
                self.defects.append(f"{method} {path}: {err!r}")
            return
        if answer.status_code == 500 and "defect" in answer.text:
            self.defects.append(f"{method} {path}: {answer.text}")


@dataclass(frozen=True)
class Original:
    """An undamaged folder, and what is damaged in it."""

    folder: Path
    pattern: str

    def copies(self, into: Path, count: int, seed: int) -> Iterator[tuple[Damage, Path]]:
        """Yield `count` damaged copies of the folder, one after another in the same place."""
        draw = random.Random(seed)
        for _ in range(count):
            shutil.rmtree(into, ignore_errors=True)
            shutil.copytree(self.folder, into)
            paths = sorted(p for p in into.glob(self.pattern) if p.is_file() and p.stat().st_size)
            damage = draw_damage(paths, draw)
            damage.apply()
            yield damage, into


def describe(damage: Damage, defects: Sequence[str]) -> str:
    """Say which damage was not answered with a type."""
    what = f"{damage.path.name}: {damage.kind} at {damage.offset} ({damage.detail})"
    return json.dumps({"damage": what, "defects": list(defects)}, indent=1)
