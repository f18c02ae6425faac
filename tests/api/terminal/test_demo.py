"""The table of the demonstration: honest counts, 100 columns, and commands to go on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.terminal.demo import explain, print_demo
from api.terminal.demonstration import (
    COPY,
    MIRRORED,
    PHOTOGRAPH,
    RECOMPRESSED,
    TILE_PIXELS,
    DemoAnswer,
    DemoRow,
    cut_tiles,
)
from embedder.demonstration.resynthesis import DECODERS
from tests.api.small_lineup import FAKE, REAL, add, encoded, open_small, picture

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """An answer of a small look-up, as JSON."""
    from api.lookups.lookup import look_up_image  # noqa: PLC0415 -- loads the model library
    from api.lookups.request import LookupQuery  # noqa: PLC0415

    with open_small(tmp_path_factory.mktemp("data")) as lineup:
        add(lineup, "fakes", FAKE, encoded(picture(1)), "gan")
        add(lineup, "reals", REAL, encoded(picture(2)))
        lineup.index.refresh()
        answer = look_up_image(lineup, encoded(picture(3)), LookupQuery(k=1))
    document: dict[str, object] = json.loads(answer.model_dump_json())
    return document


@dataclass(frozen=True)
class Case:
    probe: str
    truth: str
    classifier: str
    generator: str
    nearer_than: int
    verdict: str


SHARE = {"method": "empirical", "across_collections": False}
DISCRIMINATION = {
    "similarity": 0.9749,
    "hit_rate": SHARE
    | {"estimate": 0.81, "low": 0.58, "high": 0.92, "images": 200, "sources": 11, "matches": 162},
    "false_match_rate": SHARE
    | {"estimate": 0.01, "low": 0.002, "high": 0.02, "images": 332, "sources": 293, "matches": 3},
    "tells": True,
}
CASES = [
    Case("chelsea.png", PHOTOGRAPH, "no_traces", "demo-bilinear", 15, "not_similar"),
    Case("china.png", PHOTOGRAPH, "no_traces", "demo-bilinear", 3, "similar_to_known_fakes"),
    Case("chelsea-fake-1.png", DECODERS[0], "synthetic", DECODERS[0], 28, "not_similar"),
    Case("china-fake-2.png", DECODERS[1], "synthetic", DECODERS[1], 27, "not_similar"),
    Case("chelsea-fake-3.png", DECODERS[2], "synthetic", DECODERS[2], 28, "similar_to_known_fakes"),
    Case("china-fake-4.png", DECODERS[3], "synthetic", DECODERS[3], 28, "inconclusive"),
    Case("known-copy.png", COPY, "synthetic", DECODERS[0], 28, "similar_to_known_fakes"),
    Case("known-jpeg75.jpg", RECOMPRESSED, "inconclusive", DECODERS[1], 25, "inconclusive"),
    Case("known-mirrored.jpg", MIRRORED, "inconclusive", DECODERS[1], 20, "inconclusive"),
]


@pytest.fixture
def demo(template: dict[str, object]) -> DemoAnswer:
    rows = []
    for case in CASES:
        lookup = json.loads(json.dumps(template))
        lookup["classifier"]["verdict"] = case.classifier
        lookup["similarity"]["verdict"] = case.verdict
        lookup["similarity"]["neighbours"][0]["entry"]["generator"] = case.generator
        lookup["similarity"]["threshold"] = {"cosine_similarity": 0.9749, "source": "measured"}
        lookup["similarity"]["discrimination"] = DISCRIMINATION
        rows.append(
            DemoRow(probe=case.probe, truth=case.truth, nearer_than=case.nearer_than, lookup=lookup)
        )
    return DemoAnswer(
        data_dir="lineup-demo/data", images_dir="lineup-demo/images", photographs=28, rows=rows
    )


def test_the_table_fits_100_columns_and_has_every_fact(
    demo: DemoAnswer, capsys: Capture, set_width: Callable[[int], None]
) -> None:
    set_width(100)
    print_demo(demo)
    lines = capsys.readouterr().out.splitlines()

    assert max(map(len, lines)) <= 100
    assert "not shown" not in "".join(lines)
    assert lines[1].split()[:4] == ["probe", "made", "by", "(truth)"]
    for line, case in zip(lines[2:11], CASES, strict=True):
        cells = [cell for cell in line.split("  ") if cell]
        assert [cell.strip() for cell in cells] == [
            Path(case.probe).stem,
            case.truth,
            case.classifier,
            case.generator,
            f"{case.nearer_than} of 28",
            case.verdict,
        ]


def test_what_the_threshold_is_worth_and_what_it_calls_similar_are_stated(
    demo: DemoAnswer,
) -> None:
    counted, measured, called = explain(demo)

    assert counted.startswith("nearer than: how many of the 28 known photographs")
    assert measured.startswith("similar: from a similarity of 0.975 on. There, 1 % of known-real")
    assert "81 % of known fakes come this near to another one" in measured
    assert called == ("Of these probes it calls 1 of 2 photographs and 1 of 4 new fakes similar.")


def test_the_edited_copy_says_what_was_done_and_why_there_is_no_verdict(demo: DemoAnswer) -> None:
    document = json.loads(demo.model_dump_json())
    similarity = document["rows"][-1]["lookup"]["similarity"]
    similarity["reason"] = "also_known_real"
    similarity["neighbours"][0] |= {
        "relation": "near_duplicate",
        "copy_evidence": {"words": "mirrored; 2 of 256 bits differ"},
    }
    *_, copy = explain(DemoAnswer.model_validate(document))

    assert copy == (
        "known-mirrored: near duplicate of a known fake: mirrored; 2 of 256 bits differ. The "
        "photograph that the fake was made from is known too, so there is no verdict."
    )


def test_without_a_threshold_it_says_what_to_do(demo: DemoAnswer) -> None:
    rows = [
        row.model_copy(
            update={
                "lookup": row.lookup.model_copy(
                    update={
                        "similarity": row.lookup.similarity.model_copy(
                            update={"threshold": None, "next_step": "run something"}
                        )
                    }
                )
            }
        )
        for row in demo.rows
    ]
    _, nothing = explain(demo.model_copy(update={"rows": rows}))
    assert nothing == "No verdict rests on similarity here: run something."


def test_the_last_lines_are_commands_for_the_same_data(demo: DemoAnswer, capsys: Capture) -> None:
    print_demo(demo.model_copy(update={"data_dir": "my demo/data"}))
    *_, where, search, serve, page = capsys.readouterr().out.splitlines()

    assert where == "The demonstration's data are in 'my demo/data'. Go on with them:"
    assert search.endswith(
        "search lineup-demo/images/probes/chelsea-fake-1.png --data-dir 'my demo/data'"
    )
    assert serve.endswith("serve --data-dir 'my demo/data'")
    assert "http://127.0.0.1:8787" in page


def test_only_a_fake_of_a_known_generator_counts_as_new(demo: DemoAnswer) -> None:
    assert [row.is_new_fake for row in demo.rows] == [False] * 2 + [True] * 4 + [False] * 3


def test_tiles_do_not_overlap_and_name_their_place() -> None:
    image = Image.fromarray(
        np.arange(3 * TILE_PIXELS * 2 * TILE_PIXELS, dtype=np.uint32)
        .reshape(2 * TILE_PIXELS, 3 * TILE_PIXELS)
        .astype(np.uint8)
    )
    tiles = dict(cut_tiles(image.resize((3 * TILE_PIXELS + 5, 2 * TILE_PIXELS - 1))))

    assert list(tiles) == [f"{left * TILE_PIXELS}-0" for left in range(3)]
    assert {tile.size for tile in tiles.values()} == {(TILE_PIXELS, TILE_PIXELS)}
