"""`lineup search` over the built-in model and a real corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.errors import InvalidRequest
from api.http.app import create_app
from api.lookups.answers.json import LookupAnswer, ProbeLookup
from api.settings import Settings
from api.terminal.search import parse_places, print_overview
from tests.api.terminal.commands import answer, assert_one_line, run, write_image
from tests.clients import NO_BROWSER

Capture = pytest.CaptureFixture[str]
OF_THE_MOMENT = {"id", "created_at", "timings"}


@pytest.fixture(scope="module")
def mixed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two images, a text, a hidden file, and a broken image in a subfolder."""
    folder = tmp_path_factory.mktemp("mixed")
    write_image(folder / "b.png", 1)
    write_image(folder / "a.png", 7)
    write_image(folder / ".hidden.png", 2)
    (folder / "notes.txt").write_text("no image")
    (folder / "sub").mkdir()
    (folder / "sub" / "cut.png").write_bytes((images / "cut.png").read_bytes())
    return folder


def test_one_image_is_answered_in_full(data: Path, images: Path) -> None:
    done = run(data, "search", images / "unseen.png")

    assert done.exit_code == 0
    name, caution, classifier, similarity, *_, last = done.stdout.splitlines()
    assert name == str(images / "unseen.png")
    assert caution.startswith("  caution     The built-in model is for trying Lineup.")
    assert classifier.startswith("  classifier  ")
    assert ", logit " in classifier
    assert similarity.startswith("  similarity  ")
    assert last.startswith("  look-up ")
    assert "generation 3" in last


def test_a_folder_is_one_line_for_each_image_and_broken_images_are_named(
    data: Path, mixed: Path
) -> None:
    done = run(data, "search", mixed)
    caution, header, first, second, failure = done.stdout.splitlines()

    assert done.exit_code == 3
    assert caution.startswith("The built-in model is for trying Lineup.")
    titles = ["image", "classifier", "verdict", "relation", "cosine", "nearest generator"]
    assert all(title in header for title in titles)
    assert first.split()[0] == "a.png"
    assert second.split()[0] == "b.png"
    assert "similar_to_known_fakes  identical" in second
    assert "1.0000  noise" in second
    assert failure.startswith(f"{mixed / 'sub' / 'cut.png'}  truncated: ")
    assert "notes.txt" not in done.output
    assert "hidden" not in done.output


@pytest.mark.parametrize("columns", ["200", ""])
def test_a_long_generator_name_is_whole_and_in_line_where_there_is_room(
    columns: str, lookup: LookupAnswer, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    document = lookup.model_dump()
    document["similarity"]["neighbours"][0]["entry"]["generator"] = "sd1.5-dreamshaper3-photo-style"
    long = LookupAnswer.model_validate(document)
    print_overview((), [ProbeLookup(name="a", lookup=long), ProbeLookup(name="b", lookup=lookup)])
    _, _, first, second = capsys.readouterr().out.splitlines()

    assert f"  sd1.5-dreamshaper3-photo-style  {lookup.id}" in first
    assert first.index(lookup.id) == second.index(lookup.id)


def test_several_images_are_one_line_each_and_details_are_the_full_form(
    data: Path, images: Path, mixed: Path
) -> None:
    probes = images / "unseen.png", mixed / "b.png"
    short, full = run(data, "search", *probes), run(data, "search", *probes, "--details")

    assert len(short.stdout.splitlines()) == 4
    assert short.stdout.splitlines()[3].startswith(f"{mixed / 'b.png'}  ")
    assert full.stdout.count("  classifier  ") == 2
    assert f"\n{mixed / 'b.png'}\n" in full.stdout


def test_a_named_file_that_is_no_image_is_a_failure(data: Path, mixed: Path) -> None:
    done = run(data, "search", mixed / "notes.txt")

    assert done.exit_code == 3
    assert "notes.txt  not_an_image" in done.stdout


def test_a_folder_without_images_says_so(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run(data, "search", tmp_path / "empty")
    assert (done.exit_code, done.stdout) == (0, "no image was looked up\n")


def test_json_of_a_folder_has_lookups_and_failures(data: Path, mixed: Path) -> None:
    done = run(data, "search", mixed, "--json")
    document = json.loads(done.stdout)

    assert done.exit_code == 3
    assert set(document) == {"lookups", "failures"}
    assert [each["name"] for each in document["lookups"]] == [
        str(mixed / "a.png"),
        str(mixed / "b.png"),
    ]
    assert [each["reason"] for each in document["failures"]] == ["truncated"]


def test_the_options_reach_the_look_up(data: Path, images: Path) -> None:
    probe = images / "known" / "1.png"
    found = answer(data, "search", probe, "-k", 2, "--exact", "--kind", "any", "--stability")
    lookup = found["lookups"][0]["lookup"]

    assert lookup["method"]["k"] == 2
    assert lookup["method"]["exact"]
    assert lookup["similarity"]["filter"]["kind"] is None
    assert lookup["stability"] is not None
    none = answer(data, "search", probe, "--kind", "known_real")["lookups"][0]["lookup"]
    assert none["similarity"]["neighbours"] == []
    other = answer(data, "search", probe, "--generator", "other")["lookups"][0]["lookup"]
    assert other["similarity"]["searched"] == 0


@pytest.mark.parametrize(
    ("where", "places"),
    [
        (None, None),
        ([], None),
        (["path=2.png"], {"path": ["2.png"]}),
        (["/iso=100", "/iso=200"], {"/iso": [100, 200]}),
        (["a=true", "b=null", "c=1.5"], {"a": [True], "b": [None], "c": [1.5]}),
        (["a=[1]", "b={}"], {"a": ["[1]"], "b": ["{}"]}),
        (["a=x=y"], {"a": ["x=y"]}),
    ],
)
def test_places_are_json_scalars_or_text(where: list[str] | None, places: object) -> None:
    assert parse_places(where) == places


def test_a_place_without_a_value_is_refused(data: Path, images: Path) -> None:
    with pytest.raises(InvalidRequest, match="PLACE=VALUE"):
        parse_places(["path"])
    assert_one_line(run(data, "search", images / "unseen.png", "--where", "path"), 4, "PLACE=VALUE")


def lasting(lookup: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in lookup.items() if name not in OF_THE_MOMENT}


def test_json_is_what_the_http_api_answers(data: Path, images: Path) -> None:
    probes = [images / "known" / "1.png", images / "unseen.png"]

    printed = answer(data, "search", *probes, "-k", 2)["lookups"]
    with TestClient(
        create_app(Settings(data_dir=data)), base_url="http://127.0.0.1", headers=NO_BROWSER
    ) as client:
        sent = [
            {"files": {"image": probe.read_bytes()}, "data": {"query": '{"k": 2}'}}
            for probe in probes
        ]
        answered = [client.post("/v1/lookups", **each).json() for each in sent]

    assert [each["name"] for each in printed] == [str(probe) for probe in probes]
    for each, returned in zip(printed, answered, strict=True):
        assert each["lookup"].keys() == returned.keys()
        assert each["lookup"]["timings"].keys() == returned["timings"].keys()
        assert lasting(each["lookup"]) == lasting(returned)


def test_a_place_in_the_provenance_chooses_what_is_searched(data: Path, images: Path) -> None:
    probe = images / "known" / "2.png"

    def paths(*options: str) -> set[str]:
        found = answer(data, "search", probe, *options)["lookups"][0]["lookup"]
        return {
            neighbour["entry"]["provenance"]["path"]
            for neighbour in found["similarity"]["neighbours"]
        }

    assert paths("--where", "path=2.png") == {"2.png"}
    assert paths("--where", "/path=2.png", "--where", "/path=1.png") == {"1.png", "2.png"}
    assert paths("--where", "path=true") == set()


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (("--corpus", "nobody"), 5, "'nobody'"),
        (("--corpus", "UPPER"), 4, "UPPER"),
        (("--false-match-rate", "2"), 4, "false_match_rate"),
        (("--model", "nobody"), 6, "unknown model 'nobody'"),
    ],
)
def test_what_cannot_be_searched_is_one_line(
    data: Path, images: Path, words: tuple[str, ...], exit_code: int, message: str
) -> None:
    assert_one_line(run(data, "search", images / "unseen.png", *words), exit_code, message)
