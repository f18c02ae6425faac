"""One corpus out of each kind of source: the same pictures, whole provenance, and what is wrong is
named.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner, Result

from api.terminal import app
from tests.functional.shelves import encoded, jpeg, picture

PICTURES = {f"sdxl/train/{seed}.jpg": jpeg(seed) for seed in range(3)} | {
    "flux/test/3.jpg": jpeg(3)
}


def lineup(data: Path, *arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["--data-dir", str(data), *map(str, arguments)], input=stdin)


def ingested(
    data: Path, *arguments: object, stdin: bytes | None = None, code: int = 0
) -> dict[str, Any]:
    done = lineup(data, "ingest", *arguments, "--corpus", "known", "--json", stdin=stdin)
    assert done.exit_code == code, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def entries(data: Path, corpus: str = "known") -> dict[str, dict[str, Any]]:
    page = json.loads(lineup(data, "entries", "list", corpus, "--json", "--limit", 1000).stdout)
    return {entry["provenance"]["path"]: entry for entry in page["entries"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures as files."""
    root = tmp_path_factory.mktemp("pictures")
    for name, data in PICTURES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_a_folder_with_a_pattern(tmp_path: Path, folder: Path) -> None:
    job = ingested(tmp_path, folder, "--pattern", "{generator}/{split}/*")

    found = entries(tmp_path)
    assert (job["found"], job["added"]) == (4, 4)
    assert set(found) == set(PICTURES)
    assert found["flux/test/3.jpg"]["generator"] == "flux"
    assert found["flux/test/3.jpg"]["provenance"]["pattern"] == {
        "generator": "flux",
        "split": "test",
    }
    assert found["flux/test/3.jpg"]["provenance"]["path"] == "flux/test/3.jpg"


@pytest.mark.parametrize("compression", ["", "gz", "xz"])
def test_a_tar_of_samples_as_webdataset_writes_them(tmp_path: Path, compression: str) -> None:
    with tarfile.open(tmp_path / "shard-000.tar", f"w:{compression}") as tar:  # type: ignore[call-overload]
        for seed in range(3):
            sidecar = json.dumps({"generator": "sdxl", "prompt": f"picture {seed}"}).encode()
            for suffix, data in (
                ("jpg", jpeg(seed)),
                ("json", sidecar),
                ("cls", b"7"),
                ("txt", b"a caption"),
            ):
                member = tarfile.TarInfo(f"./part/{seed:05}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))

    job = ingested(tmp_path / "data", tmp_path / "shard-000.tar")

    (first, *_) = entries(tmp_path / "data").values()
    assert (job["found"], job["added"], job["failed"]) == (3, 3, 0)
    assert (first["generator"], first["label"], first["source"]) == ("sdxl", "7", "shard-000.tar")
    assert first["provenance"]["source"] == {
        "generator": "sdxl",
        "prompt": "picture 0",
        "class": 7,
        "caption": "a caption",
    }


def test_a_zip_with_a_damaged_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in PICTURES.items():
            archive.writestr(name, data)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(PICTURES["sdxl/train/1.jpg"]) + 500] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(content)

    job = ingested(tmp_path / "data", tmp_path / "a.zip", code=3)

    assert job["reasons"]["failed"] == {"corrupt_member": 1}
    assert set(entries(tmp_path / "data")) == set(PICTURES) - {"sdxl/train/1.jpg"}


def test_a_tar_that_was_cut_short_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cut.tar", "w") as tar:
        for name, data in PICTURES.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    content = (tmp_path / "cut.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(content[: content.index(PICTURES["flux/test/3.jpg"]) + 100])

    job = ingested(tmp_path / "data", tmp_path / "cut.tar", code=3)

    assert job["added"] == 3
    assert "truncated_archive" in job["reasons"]["failed"]
    assert job["found"] == job["done"]


def test_a_parquet_table_of_hugging_face_and_one_of_bytes(tmp_path: Path) -> None:
    rows = [
        {"image": {"bytes": data, "path": name}, "label": number}
        for number, (name, data) in enumerate(PICTURES.items())
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "hf.parquet", row_group_size=3)
    pq.write_table(
        pa.table({"image": [*PICTURES.values(), None], "generator": ["a", "b", "c", "d", "e"]}),
        tmp_path / "plain.parquet",
    )

    job = ingested(tmp_path / "data", tmp_path / "hf.parquet")
    other = ingested(tmp_path / "data", tmp_path / "plain.parquet", code=3)

    assert (job["added"], other["skipped"], other["failed"]) == (4, 4, 1)
    assert other["reasons"] == {"failed": {"no_image": 1}, "skipped": {"already_there": 4}}
    assert sorted(entry["label"] for entry in entries(tmp_path / "data").values()) == [
        "0",
        "1",
        "2",
        "3",
    ]


def test_manifests_in_csv_and_jsonl(tmp_path: Path, folder: Path) -> None:
    with (folder / "m.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "generator", "note"])
        writer.writeheader()
        for number, name in enumerate(PICTURES):
            writer.writerow({"path": name, "generator": "sdxl", "note": f'line {number}\n"quoted"'})
        writer.writerow({"path": "missing.jpg", "generator": "", "note": ""})
    lines = [json.dumps({"file_name": name, "generator": "other"}) for name in PICTURES]
    (tmp_path / "m.jsonl").write_text("\n".join([*lines, "{broken"]) + "\n")

    job = ingested(tmp_path / "data", folder / "m.csv", code=3)
    (folder / "m.csv").unlink()
    other = ingested(tmp_path / "data", tmp_path / "m.jsonl", code=3)

    assert (job["added"], job["reasons"]["failed"]) == (4, {"not_found": 1})
    assert (
        entries(tmp_path / "data")["sdxl/train/0.jpg"]["provenance"]["source"]["note"]
        == 'line 0\n"quoted"'
    )
    assert other["reasons"]["failed"] == {"not_found": 4, "malformed_row": 1}


@pytest.mark.parametrize("end", [b"\n", b"\0"])
def test_paths_on_standard_input(tmp_path: Path, folder: Path, end: bytes) -> None:
    paths = (
        end.join(str(folder / name).encode() for name in PICTURES) + end + b"/nowhere/x.jpg" + end
    )

    job = ingested(tmp_path, "-", stdin=paths, code=3)
    again = ingested(tmp_path, "-", stdin=paths, code=3)

    assert (job["added"], job["reasons"]["failed"]) == (4, {"not_found": 1})
    assert (again["id"], again["skipped"]) == (2, 4)
    assert not list((tmp_path / "uploads").iterdir())


def test_several_sources_and_a_url(tmp_path: Path, folder: Path) -> None:
    job = ingested(tmp_path, folder / "flux", f"file://{folder}/sdxl", folder / "sdxl/train/0.jpg")

    assert (job["found"], job["added"], job["duplicates"]) == (5, 4, 1)
    assert {entry["source"] for entry in entries(tmp_path).values()} == {"flux", "sdxl"}


def test_what_a_file_says_of_itself_is_kept_and_heard_last(tmp_path: Path) -> None:
    written = PngInfo()
    written.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, Model: dreamshaper_8")
    image = io.BytesIO()
    picture(1).save(image, "PNG", pnginfo=written)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(image.getvalue())

    ingested(tmp_path / "own", tmp_path / "in")
    ingested(tmp_path / "declared", tmp_path / "in", "--generator", "sdxl")

    own, other = entries(tmp_path / "own")["a.png"], entries(tmp_path / "declared")["a.png"]
    assert own["generator"] == "dreamshaper_8"
    assert own["provenance"]["file"]["png:parameters"].startswith("a cat")
    assert own["provenance"]["generator_from"] == "png:parameters"
    assert other["generator"] == "sdxl"
    assert other["provenance"]["conflicts"] == {
        "generator": {"option": "sdxl", "file": "dreamshaper_8"}
    }


def test_near_duplicates_are_counted_and_left_out_when_asked(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg(1))
    (tmp_path / "in" / "b.jpg").write_bytes(encoded(picture(1), "JPEG", quality=50))
    (tmp_path / "in" / "c.png").write_bytes(encoded(Image.new("RGB", (200, 200)), "PNG"))
    (tmp_path / "in" / "d.png").write_bytes(encoded(Image.new("RGB", (210, 210)), "PNG"))

    kept = ingested(tmp_path / "kept", tmp_path / "in")
    left = ingested(tmp_path / "left", tmp_path / "in", "--dedup", "near")

    assert (kept["added"], kept["near_duplicates"]) == (
        4,
        1,
    )  # two black pictures are alike in nothing that counts
    assert (left["added"], left["skipped"], left["near_duplicates"]) == (3, 1, 1)
    assert left["reasons"]["skipped"] == {"near_duplicate": 1}
    assert len(list((tmp_path / "left" / "thumbnails").glob("*/*.webp"))) == 3
    found = json.loads(
        lineup(tmp_path / "left", "search", tmp_path / "in" / "b.jpg", "--json").stdout
    )
    similarity = found["lookups"][0]["lookup"]["similarity"]
    assert similarity["reason"] == "near_duplicate_image"
    (near,) = [each for each in similarity["neighbours"] if each["relation"] == "near_duplicate"]
    assert near["entry"]["provenance"]["path"] == "a.jpg"
    assert near["hamming_distance"] <= 31
    black = json.loads(
        lineup(tmp_path / "left", "search", tmp_path / "in" / "d.png", "--json").stdout
    )
    by_path = {
        n["entry"]["provenance"]["path"]: n
        for n in black["lookups"][0]["lookup"]["similarity"]["neighbours"]
    }
    assert by_path["c.png"]["perceptual_hash"] == "low_quality"
    assert by_path["c.png"]["relation"] != "near_duplicate"


@pytest.mark.parametrize(
    ("keep", "thumbnails", "originals"), [("none", 0, 0), ("thumbnail", 4, 0), ("original", 4, 4)]
)
def test_what_is_kept_goes_with_the_last_entry_that_needs_it(
    tmp_path: Path, folder: Path, keep: str, thumbnails: int, originals: int
) -> None:
    ingested(tmp_path, folder, "--keep", keep)

    def kept() -> tuple[int, int]:
        return len(list(tmp_path.glob("thumbnails/*/*.webp"))), len(
            list(tmp_path.glob("originals/*/*.original"))
        )

    assert kept() == (thumbnails, originals)
    assert lineup(tmp_path, "fsck").exit_code == 0
    assert lineup(
        tmp_path, "ingest", folder, "--corpus", "known", "--keep", "original"
    ).exit_code == (0 if keep == "original" else 5)
    assert lineup(tmp_path, "corpora", "remove", "known", "--yes").exit_code == 0
    assert kept() == (0, 0)


def test_keeping_less_removes_what_is_there(tmp_path: Path, folder: Path) -> None:
    ingested(tmp_path, folder, "--keep", "original")

    assert lineup(tmp_path, "corpora", "keep", "known", "none").exit_code == 0

    assert not list(tmp_path.glob("thumbnails/*/*.webp"))
    assert not list(tmp_path.glob("originals/*/*.original"))
    assert json.loads(lineup(tmp_path, "fsck", "--json").stdout)["findings"] == []


def test_a_dry_run_tells_what_would_come_and_writes_nothing(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "cut.jpg").write_bytes(jpeg(9)[:-50])
    (tmp_path / "more" / "near.jpg").write_bytes(encoded(picture(2), "JPEG", quality=50))
    (tmp_path / "more" / "same.jpg").write_bytes(jpeg(2))
    data = tmp_path / "data"
    arguments = ("ingest", folder, tmp_path / "more", "--corpus", "known", "--dry-run", "--json")

    counts = json.loads(lineup(data, *arguments).stdout)
    assert not (data / "lineup.db").exists()
    assert (counts["found"], counts["new"], counts["skipped"], counts["failed"]) == (7, 5, 1, 1)
    assert (counts["duplicates"], counts["near_duplicates"]) == (1, 1)
    ingested(data, folder)
    counts = json.loads(lineup(data, *arguments).stdout)

    assert (counts["new"], counts["skipped"], counts["failed"]) == (1, 5, 1)
    assert len(entries(data)) == 4
    assert len(json.loads(lineup(data, "jobs", "--json").stdout)["jobs"]) == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere", "nowhere"),
        ("gopher://x/y", "gopher"),
        ("empty.parquet", "empty.parquet"),
        ("no-path.csv", "column"),
    ],
)
def test_a_source_that_cannot_be_used_is_one_line(tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "no-path.csv").write_text("a,b\n1,2\n")
    pq.write_table(pa.table({"number": [1]}), tmp_path / "empty.parquet")
    where = source if "://" in source else tmp_path / source

    done = lineup(tmp_path / "data", "ingest", where, "--corpus", "known")

    assert done.exit_code == 4
    assert words in done.stderr
    job = json.loads(lineup(tmp_path / "data", "jobs", "show", 1, "--json").stdout)
    assert job["state"] == "failed"
    assert words in job["error"]


def test_a_hundred_of_each_format_of_random_bytes_never_end_the_run(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(100):
        (tmp_path / "in" / f"{number}.bin").write_bytes(chance.bytes(int(chance.integers(0, 300))))

    job = ingested(tmp_path / "data", tmp_path / "in", code=3)

    assert job["failed"] == job["found"] - job["skipped"] - job["added"]
    assert job["state"] == "completed"
