"""Makes the golden files of schema 0004: `golden-0004.tar.xz` and `golden-0004.json`, beside this.

This is a record of how those files were made. It runs against the code of commit 8360496 (version
0.1.0, schema 0004, snapshot format 2, backup format 1). It need not run against later code:

    git worktree add ../earlier 8360496
    mkdir -p ../earlier/tests/data && cp tests/data/make_golden.py ../earlier/tests/data/
    cd ../earlier && python -m tests.data.make_golden /tmp/lineup-golden

The files are never made again. They show that later releases open what this release wrote. A later
format gets golden files of its own, beside these.

The script draws every image, so nobody else has a right to what is stored. The archive holds

    data/           a data folder: SQLite database, flat index snapshot, thumbnails of one corpus
    codes/          a second index snapshot of the same database, with trained codes
    backup.tar      a backup of `data`, as `lineup backup` wrote it
    answers/        each look-up as `lineup show --json` printed it on that day
    calibration.json, fsck.json, verify-backup.json    likewise
    probes/         the images that were looked up

Database, snapshots and backup hold the same vectors. One xz stream over all of them stores these
vectors about once: 0.3 MB instead of 1.7 MB.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from api.app import create_app
from api.cli import app
from fastapi.testclient import TestClient
from PIL import Image, ImageFilter
from typer.testing import CliRunner

from api.settings import Settings
from tests.clients import NO_BROWSER

HERE = Path(__file__).parent
NAME = "golden-0004"
COMMIT = "8360496"
SIDE = 192
PHOTOGRAPHS, FAKES = 28, 14  # fakes of each generator
CODES = {"LINEUP_INDEX_FLAT_LIMIT": "10", "LINEUP_INDEX_RECALL_TARGET": "0.5"}


def photograph(seed: int) -> Image.Image:
    """Noise with the spectrum of a photograph, which the built-in classifier calls authentic."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None])
    frequency[0, 0] = 1
    steepness = random.uniform(0.9, 1.3)
    shades = []
    for _ in range(4):
        shade = np.fft.ifft2(
            np.fft.fft2(random.normal(size=(SIDE, SIDE))) / frequency**steepness
        ).real
        shades.append(shade / shade.std())
    colours = np.stack([shades[0] + 0.3 * own for own in shades[1:]], axis=-1)
    grain = random.normal(0, 2, colours.shape)
    return Image.fromarray((128 + 45 * colours + grain).clip(0, 255).astype(np.uint8))


def fake(seed: int, generator: str) -> Image.Image:
    """Two "generators" with a trace of their own: one doubles pixels, the other draws contours."""
    image = photograph(10_000 + seed)
    if generator == "doubled":
        return image.resize((SIDE // 2, SIDE // 2), Image.Resampling.BICUBIC).resize(
            (SIDE, SIDE), Image.Resampling.NEAREST
        )
    return image.filter(ImageFilter.CONTOUR)


def blocks(seed: int) -> Image.Image:
    """Smooth blots, like no other image here."""
    rough = np.random.default_rng(seed).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def tent(seed: int) -> Image.Image:
    """Straight ramps between coarse pixels, which the built-in classifier calls synthetic."""
    rough = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_sources(folder: Path) -> None:
    for generator in ("doubled", "contours"):
        for seed in range(FAKES):
            write(
                folder / "fakes" / generator / f"{seed:02}.png",
                encoded(fake(seed, generator), "PNG"),
            )
    first = (folder / "fakes" / "doubled" / "00.png").read_bytes()
    write(folder / "fakes" / "doubled" / "copy.png", first)  # skipped: the same bytes
    write(folder / "fakes" / "doubled" / "cut.png", first[:-2000])  # failed
    write(folder / "fakes" / "contours" / "words.png", b"these are words")  # failed
    rows = []
    for seed in range(PHOTOGRAPHS):
        write(
            folder / "photographs" / f"{seed:02}.jpg", encoded(photograph(seed), "JPEG", quality=92)
        )
        camera = {"model": f"X{seed % 3}", "iso": 100 * (1 + seed % 4)}
        rows.append(
            {
                "path": f"{seed:02}.jpg",
                "camera": camera,
                "reviewed": seed % 2 == 0,
                "licence": "MIT",
            }
        )
    rows.append({"path": "missing.jpg"})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write(folder / "photographs" / "list.jsonl", lines.encode())
    for seed in range(3):
        write(folder / "shown" / f"{seed}.png", encoded(blocks(seed), "PNG"))
    for seed in range(2):
        write(folder / "withdrawn" / f"{seed}.png", encoded(fake(500 + seed, "contours"), "PNG"))
    for seed in range(4):
        write(folder / "later" / f"{seed}.png", encoded(fake(600 + seed, "doubled"), "PNG"))


def write_probes(folder: Path) -> None:
    write(folder / "authentic.jpg", encoded(photograph(90_001), "JPEG", quality=85))
    write(folder / "new-fake.jpg", encoded(fake(90_002, "doubled"), "JPEG", quality=92))
    write(folder / "similar.png", encoded(fake(90_003, "doubled"), "PNG"))
    write(folder / "synthetic.png", encoded(tent(3), "PNG"))
    write(folder / "identical.png", encoded(blocks(1), "PNG"))
    write(folder / "near-duplicate.jpg", encoded(blocks(0), "JPEG", quality=60))
    write(folder / "known-real.jpg", encoded(photograph(5), "JPEG", quality=75))
    write(folder / "flat.png", encoded(Image.new("RGB", (SIDE, SIDE), (90, 90, 90)), "PNG"))


class Folder:
    """A data folder and what was asked of it."""

    def __init__(self, base: Path) -> None:
        self.base, self.data = base, base / "data"
        self.lookups: dict[str, str] = {}

    def run(self, *arguments: object, code: int = 0, data: str = "data") -> Any:
        url = f"sqlite:///{self.data / 'lineup.db'}"
        words = ["--data-dir", str(self.base / data), "--database-url", url, *map(str, arguments)]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == code, (words, done.exit_code, done.stdout, done.stderr)
        if "--json" not in words:
            return None
        return json.loads(
            done.stdout if done.stdout.startswith("{\n") else done.stdout.splitlines()[-1]
        )

    def search(self, name: str, probe: str, *options: object, data: str = "data") -> Any:
        found = self.run("search", self.base / "probes" / probe, *options, "--json", data=data)
        self.lookups[name] = found["lookups"][0]["lookup"]["id"]
        return found["lookups"][0]["lookup"]

    def ask(self, **asked: dict[str, Any]) -> None:
        """Look-ups over HTTP, without an image."""
        with TestClient(
            create_app(Settings(data_dir=self.data, offline=True)),
            base_url="http://localhost",
            headers=NO_BROWSER,
        ) as client:
            for name, body in asked.items():
                done = client.post("/v1/lookups", json=body)
                assert done.status_code == 201, done.text
                self.lookups[name.replace("_", "-")] = done.json()["id"]

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.data / "lineup.db")) as database:
            return database.execute(query).fetchall()


def fill(folder: Folder) -> None:
    """The history of the folder, in the order of its change log."""
    sources = folder.base / "sources"
    provenance = ("--label", "golden", "--licence", "MIT", "--origin", "drawn")
    provenance += ("--acquired-at", "2024-05-06T07:08:09")
    pattern = ("--keep", "none", "--pattern", "{generator}/*")
    folder.run("init")
    folder.run("ingest", sources / "fakes", "--corpus", "fakes", *pattern, *provenance, code=3)
    photographs = ("--corpus", "photographs", "--kind", "known_real", "--keep", "none")
    folder.run("ingest", sources / "photographs" / "list.jsonl", *photographs, code=3)
    folder.run("ingest", sources / "shown", "--corpus", "shown", "--generator", "blots")
    folder.run("ingest", sources / "withdrawn", "--corpus", "withdrawn", "--keep", "none")
    folder.search("uncalibrated", "new-fake.jpg", "-k", 6)
    folder.search("synthetic", "synthetic.png", "-k", 2)
    folder.run("corpora", "remove", "withdrawn", "--yes")
    folder.run("calibrate", "--condition", "jpeg75", "--max-images", 14, "--seed", 7)
    folder.search("calibrated", "new-fake.jpg")
    folder.search("authentic", "authentic.jpg")
    folder.search("similar", "similar.png")
    folder.search("synthetic-calibrated", "synthetic.png", "-k", 2)
    folder.search("identical", "identical.png")
    folder.search("near-duplicate", "near-duplicate.jpg")
    folder.search("known-real", "known-real.jpg", "--kind", "known_real", "-k", 4)
    folder.search("any-kind", "known-real.jpg", "--kind", "any", "-k", 8)
    folder.search("flat", "flat.png", "-k", 2)
    folder.search("threshold-of-the-calibration", "new-fake.jpg", "--false-match-rate", 0.3)
    folder.search("stability", "new-fake.jpg", "--stability", "-k", 3)
    folder.search("exact", "authentic.jpg", "--exact", "-k", 2)
    folder.search("filtered", "new-fake.jpg", "--corpus", "fakes", "--generator", "doubled")
    folder.search(
        "by-provenance",
        "known-real.jpg",
        "--kind",
        "known_real",
        "--where",
        "/source/camera/model=X1",
    )
    remove_some(folder)
    folder.search("after-removals", "new-fake.jpg")
    folder.run(
        "ingest",
        sources / "later",
        "--corpus",
        "fakes",
        *provenance,
        "--generator",
        "doubled",
        "--keep",
        "none",
    )
    folder.search("after-additions", "new-fake.jpg")
    ((vector, space),) = folder.rows(
        "SELECT probe_vector, fingerprint FROM lookups "
        "JOIN embedding_spaces ON space_id = embedding_spaces.id "
        f"WHERE lookups.id = '{folder.lookups['authentic']}'"
    )
    ((known,),) = folder.rows(
        "SELECT sha256 FROM images JOIN entries ON image_id = images.id WHERE entries.id = 3"
    )
    embedding = np.frombuffer(vector, np.float32).tolist()
    folder.ask(
        by_embedding={"embedding": embedding, "embedding_space": space, "k": 3},
        by_embedding_with_logit={
            "embedding": embedding,
            "embedding_space": space,
            "logit": -2.5,
            "k": 3,
        },
        by_sha256={"sha256": known, "k": 5},
    )


def remove_some(folder: Folder) -> None:
    folder.run("entries", "remove", 2)
    folder.run("quarantine", 4, "--reason", "its generator is in doubt")
    folder.run("quarantine", 20, "--reason", "released again below")
    folder.run("release", 20)


def build_codes(folder: Folder) -> None:
    """A second index of the same database, where codes propose the candidates."""
    os.environ |= CODES
    folder.run("index", "build", data="codes")
    found = folder.search("by-codes", "new-fake.jpg", "--kind", "any", "-k", 3, data="codes")
    assert not found["method"]["exact"]
    for name in CODES:
        del os.environ[name]


def settle(folder: Folder) -> None:
    """Everything in one database file, and no file that only a running process needs."""
    with closing(sqlite3.connect(folder.data / "lineup.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for path in folder.data.glob("lineup.db-*"):
        path.unlink()


def summary(folder: Folder) -> dict[str, Any]:
    """What the tests compare with, as values."""
    lookups = {}
    for name, lookup_id in folder.lookups.items():
        answer = json.loads((folder.base / "answers" / f"{name}.json").read_text())
        similarity, classifier = answer["similarity"], answer["classifier"]
        lookups[name] = {
            "id": lookup_id,
            "generation": answer["method"]["generation"],
            "exact": answer["method"]["exact"],
            "similarity": [similarity["verdict"], similarity["reason"]],
            "classifier": classifier
            and [classifier["verdict"], classifier["reason"], round(classifier["logit"], 4)],
            "calibration": (similarity["calibration"] or {}).get("id"),
            "threshold": similarity["threshold"]
            and round(similarity["threshold"]["cosine_similarity"], 6),
            "neighbours": [
                [each["entry"]["id"], each["relation"], round(each["cosine_similarity"], 6)]
                for each in similarity["neighbours"]
            ],
            "views": len(answer["stability"]["views"]) if answer["stability"] else None,
            "evidence_sha256": answer["evidence_sha256"],
        }
    calibration = json.loads((folder.base / "calibration.json").read_text())
    return {
        "made_by": {
            "commit": COMMIT,
            "script": "tests/data/make_golden.py",
            "schema_revision": folder.rows("SELECT version_num FROM alembic_version")[0][0],
        },
        "entries": {
            name: [
                row[0]
                for row in folder.rows(f"{LIVE} AND corpora.name = '{name}' ORDER BY entries.id")
            ]
            for (name,) in folder.rows(
                "SELECT name FROM corpora WHERE removed_at IS NULL ORDER BY id"
            )
        },
        "corpora": folder.run("corpora", "--json")["corpora"],
        "quarantined": folder.rows(QUARANTINED),
        "removed": [
            row[0]
            for row in folder.rows(
                "SELECT id FROM entries WHERE removed_at IS NOT NULL ORDER BY id"
            )
        ],
        "digests": {
            str(number): digest.hex()
            for number, digest in folder.rows("SELECT number, digest FROM changes")
        },
        "jobs": [
            [job["id"], job["kind"], job["state"], *(job[count] for count in COUNTS)]
            for job in folder.run("jobs", "--json")["jobs"]
        ],
        "job_items": folder.rows(
            "SELECT job_id, name, outcome, reason FROM job_items ORDER BY job_id, position"
        ),
        "calibration": {
            "id": calibration["id"],
            "generation": calibration["generation"],
            "corpus_size": calibration["corpus_size"],
            "document_sha256": folder.rows("SELECT document_sha256 FROM calibrations")[0][0],
            "reference_embeddings": folder.rows("SELECT count(*) FROM reference_embeddings")[0][0],
        },
        "indexes": {
            name: {
                key: json.loads(
                    next((folder.base / name / "index").glob("*/manifest.json")).read_text()
                )[key]
                for key in ("format_version", "plan", "generation", "count", "rows", "digest")
            }
            for name in ("data", "codes")
        },
        "fsck": json.loads((folder.base / "fsck.json").read_text()),
        "backup": {
            key: json.loads((folder.base / "verify-backup.json").read_text())[key]
            for key in ("schema_revision", "generation", "row_counts", "thumbnails")
        },
        "lookups": lookups,
    }


LIVE = (
    "SELECT entries.id FROM entries JOIN corpora ON corpora.id = corpus_id "
    "WHERE entries.removed_at IS NULL AND corpora.removed_at IS NULL"
)
QUARANTINED = "SELECT id, removal_reason FROM entries WHERE removal_reason IS NOT NULL ORDER BY id"
COUNTS = ("found", "added", "embedded", "skipped", "failed")
STORED = (
    "data/lineup.db",
    "data/index",
    "codes/index",
    "backup.tar",
    "data/thumbnails",
    "answers",
    "calibration.json",
    "fsck.json",
    "verify-backup.json",
    "probes",
)


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """A member without the user and the clock of the machine; the lock of the index stays out."""
    if Path(member.name).name == "lock":
        return None
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def lines(found: dict[str, Any], indent: str = "") -> str:
    """JSON with a line for each value, and for each look-up."""
    texts = (
        f"{json.dumps(key)}: {lines(value, ' ') if key == 'lookups' else json.dumps(value)}"
        for key, value in found.items()
    )
    return (
        "{\n"
        + ",\n".join(f"{indent} {text}" for text in texts)
        + f"\n{indent}}}"
        + ("" if indent else "\n")
    )


def main(base: Path) -> None:
    shutil.rmtree(base, ignore_errors=True)
    folder = Folder(base)
    write_sources(base / "sources")
    write_probes(base / "probes")
    fill(folder)
    build_codes(folder)
    folder.run("index", "build")
    settle(folder)
    folder.run("backup", base / "backup.tar")
    for name, lookup_id in folder.lookups.items():
        answer = folder.run("show", lookup_id, "--json")
        write(base / "answers" / f"{name}.json", json.dumps(answer, indent=1).encode())
    for name, words in {
        "calibration": ("calibrations", "show", 1),
        "fsck": ("fsck",),
        "verify-backup": ("verify-backup", base / "backup.tar"),
    }.items():
        write(base / f"{name}.json", json.dumps(folder.run(*words, "--json"), indent=1).encode())
    settle(folder)
    write(HERE / f"{NAME}.json", lines(summary(folder)).encode())
    settle(folder)
    with tarfile.open(HERE / f"{NAME}.tar.xz", "w:xz", preset=9) as archive:
        for name in STORED:
            archive.add(base / name, name, filter=plain)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
