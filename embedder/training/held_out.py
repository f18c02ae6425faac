"""What training never saw, as manifests that `lineup evaluate` reads: seen generators, and unseen
ones.

Each manifest also lists the photographs of the held-out collections. Files are copied byte by byte,
so that their delivery can be recognised. The pictures of a grid are cut apart, because the centre
of a grid belongs to none of them.
"""

import csv
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from embedder.training.files import write_whole
from embedder.training.generators import GRIDS, Part, group_of, part_of, read_row, read_rows
from embedder.training.photographs import HELD_OUT_COLLECTIONS, MIN_SIDE

MANIFESTS = {"seen": Part.TEST, "unseen": Part.UNSEEN}
COLUMNS = ("path", "label", "generator", "source")

Row = dict[str, str]


def write_held_out(corpus: Path, folder: Path) -> dict[str, int]:
    """Write `seen.csv`, `unseen.csv` and the images beside them; return the number of images of
    each.

    An evaluation resamples by `source`: the collection of a photograph, the group of a fake.
    `relpaths.txt` lists every file of the corpus that training never saw, including those in no
    figure of the card.
    """
    never_seen = [
        row["relpath"]
        for row in read_rows(corpus)
        if part_of(row) not in (Part.TRAIN, Part.VALIDATION)
    ]
    write_whole(folder / "relpaths.txt", lambda path: path.write_text("\n".join(never_seen) + "\n"))
    rows = [
        row for row in read_rows(corpus) if min(int(row["width"]), int(row["height"])) >= MIN_SIDE
    ]
    photographs = [row for row in rows if row["relpath"].split("/")[1] in HELD_OUT_COLLECTIONS]
    listed = [line for row in photographs for line in copy_images(corpus, row, folder)]
    counts = {}
    for name, part in MANIFESTS.items():
        lines = [
            *listed,
            *(
                line
                for row in rows
                if part_of(row) is part
                for line in copy_images(corpus, row, folder)
            ),
        ]
        write_whole(folder / f"{name}.csv", partial(write_lines, lines=lines))
        counts[name] = len(lines)
    return counts


def copy_images(corpus: Path, row: Row, folder: Path) -> Iterator[Row]:
    """Copy one file into `folder` and yield its lines of the manifest."""
    relpath, synthetic = row["relpath"], row["label"] == "synthetic"
    source = f"{row['generator']}/{group_of(row)}" if synthetic else relpath.split("/")[1]
    provenance = {"label": row["label"], "generator": row["generator"], "source": source}
    if row["generator"].startswith(GRIDS):
        for number, picture in enumerate(read_row(corpus, row)):
            path = f"{relpath.rsplit('.', 1)[0]}-{number}.png"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            picture.image.save(folder / path)
            yield {"path": path, **provenance}
        return
    (folder / relpath).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(corpus / relpath, folder / relpath)
    yield {"path": relpath, **provenance}


def write_lines(target: Path, lines: list[Row]) -> None:
    with target.open("w", newline="", encoding="utf-8") as manifest:
        writer = csv.DictWriter(manifest, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)


def read_evaluation(folder: Path, weights_sha256: str) -> dict[str, object]:
    """Read what the card uses of an `evaluation.json`; measures are [value, low, high].

    Raises ValueError where it is an evaluation of other weights.
    """
    found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    if found["made"]["weights_sha256"] != weights_sha256:
        raise ValueError(
            f"{folder}: this is an evaluation of other weights; run `lineup evaluate` again"
        )
    classifier, n = found["classifier"], found["measured"]["n"]
    return {
        "date": found["made"]["created_at"][:10],
        "photographs": n["real"],
        "pictures": n["synthetic"],
        "groups": n["synthetic_sources"],
        "generators": len(found["measured"]["generators"]),
        "auc": {
            each["name"]: measure_of(each["figures"]["roc_auc"])
            for each in classifier["by_condition"]
        },
        "by_generator": {
            each["name"]: {
                "pictures": each["figures"]["n"]["synthetic"],
                "auc": measure_of(each["figures"]["roc_auc"]),
            }
            for each in classifier["by_generator"]
        },
    }


def measure_of(measure: dict[str, Any]) -> list[float | None]:
    return [
        None if measure[key] is None else round(measure[key], 4) for key in ("value", "low", "high")
    ]
