"""`lineup models` and `reembed`: the list, the active model, and what activation says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.operations.models_json import ActivatedModel, AddedModelAnswer, ModelAnswer, ModelsAnswer
from api.terminal.models import print_activated, print_added, print_models
from tests.api.terminal.commands import answer, assert_one_line, run

Capture = pytest.CaptureFixture[str]


def model(name: str, **changes: Any) -> ModelAnswer:
    facts = {
        "name": name,
        "description": f"what {name} is",
        "active": False,
        "available": False,
        "licence": "MIT",
        "revision": None,
        "weights_bytes": None,
        "weights_sha256": None,
    }
    return ModelAnswer(**{**facts, **changes})


def test_the_active_model_is_marked_and_has_its_fingerprint(capsys: Capture) -> None:
    active = model(
        "builtin",
        active=True,
        available=True,
        embedding_space="0123456789abcdef" * 4,
        device="cpu",
        precision="float32",
    )
    other = model("hub-model", revision="a" * 40)
    print_models(ModelsAnswer(models=[active, other]))
    header, first, second, note = capsys.readouterr().out.splitlines()

    assert header.split()[:3] == ["model", "fingerprint", "device"]
    assert first.split()[:5] == ["*", "builtin", "0123456789abcdef", "cpu", "float32"]
    assert first.split()[5] == "yes"
    assert second.split()[:3] == ["hub-model", "no", "a" * 12]
    assert note.startswith("* active.")


def test_why_the_active_model_has_its_precision_is_said_below_the_list(capsys: Capture) -> None:
    active = model("builtin", active=True, precision_reason="bfloat16 is refused: smallest cosine")
    print_models(ModelsAnswer(models=[active, model("hub-model")]))
    last = capsys.readouterr().out.splitlines()[-1]

    assert last == "Precision of builtin: bfloat16 is refused: smallest cosine."


def test_models_are_listed_with_the_one_in_use(data: Path) -> None:
    listed = answer(data, "models")["models"]
    assert listed[0]["precision_reason"].startswith(("float32 on a CPU", "bfloat16 on cpu is used"))
    assert all(each["precision_reason"] is None for each in listed[1:])
    assert [each["name"] for each in listed if each["active"]] == ["builtin"]
    assert listed[0]["active"]
    assert run(data, "models").stdout.splitlines()[1].startswith("*  builtin")


def test_a_model_that_cannot_be_loaded_is_named_after_the_list(data: Path) -> None:
    done = run(data, "models", "--model", "nobody")

    assert done.exit_code == 6
    assert done.stderr.startswith("nobody: unknown model 'nobody'")
    assert "builtin" in done.stdout
    assert "\n*  " not in done.stdout


def test_without_data_the_models_are_listed_all_the_same(tmp_path: Path) -> None:
    assert run(tmp_path / "none", "models").exit_code == 0
    assert not (tmp_path / "none").exists()


def test_the_model_that_is_used_can_be_made_the_active_one(images: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run(data, "ingest", images / "known", "--corpus", "known").exit_code == 0
    done = run(data, "models", "activate", "builtin")
    here = run(data, "--model", "builtin", "models", "activate", "builtin")

    assert done.stdout == "builtin is active; 3 of 3 entries have its embedding\n"
    assert done.stderr == ""
    assert "takes precedence over it" in here.stderr
    assert answer(data, "models", "activate", "builtin")["in_force"] is True
    assert_one_line(run(data, "models", "activate", "nobody"), 6, "'nobody'")


@pytest.mark.parametrize("in_force", [True, False])
def test_activation_says_whether_this_command_line_follows(in_force: bool, capsys: Capture) -> None:
    print_activated(
        ActivatedModel(
            model="m", embedding_space="a" * 64, entries=1200, embedded=1199, in_force=in_force
        )
    )
    out, err = capsys.readouterr()

    assert out == "m is active; 1,199 of 1,200 entries have its embedding\n"
    assert bool(err) is not in_force


def test_a_reembedding_with_the_same_model_has_nothing_to_do(images: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run(data, "ingest", images / "known", "--corpus", "known").exit_code == 0
    done = run(data, "reembed", "--model", "builtin")

    assert done.exit_code == 0, done.output
    assert "completed  0 found" in done.stdout
    assert run(data, "reembed").exit_code == 2


def test_an_added_model_is_described_with_what_its_answers_still_need(capsys: Capture) -> None:
    added = AddedModelAnswer(
        model="mine",
        weights_sha256="ab" * 32,
        weights_files=["model.safetensors"],
        embedding_space="0123456789abcdef" * 4,
        dimension=384,
        image_size=384,
        parameter_count=21_811_969,
        logit="The logit is the model's one logit.",
        pixels="centre crop 384",
        unused_tensors=["vit.pooler.dense.bias"],
        measured=False,
    )
    print_added(added)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "mine is added: 21,811,969 parameters, 384 dimensions, images of 384 pixels"
    )
    assert f"sha256 {'ab' * 32} (model.safetensors)" in lines[1]
    assert lines[5].split() == ["not", "used", "vit.pooler.dense.bias"]
    assert lines[6].startswith("Nothing was measured on it.")
    assert "lineup reembed --model mine" in lines[7]

    print_added(added.model_copy(update={"measured": True, "unused_tensors": []}))
    text = capsys.readouterr().out
    assert "Nothing was measured" not in text
    assert "not used" not in text


def test_a_model_that_was_not_added_cannot_be_removed(tmp_path: Path) -> None:
    done = run(tmp_path / "data", "models", "remove", "builtin")
    assert_one_line(done, 6, "no model is called 'builtin'; none was added here")
