from __future__ import annotations

from pathlib import Path

import pytest

from embedder.errors import InvalidModelConfig
from embedder.jsonfile import read_json_object


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[1]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"null", "not a JSON object"),
    ],
)
def test_what_is_no_json_object_is_refused_with_the_name_of_the_file(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InvalidModelConfig, match=f"^config.json: .*{message}") as refused:
        read_json_object(tmp_path / "config.json")
    assert str(tmp_path) not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelConfig, match="cannot be read"):
        read_json_object(tmp_path / "config.json")


def test_an_object_is_read_as_utf_8(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes('{"name": "Grüße"}'.encode())
    assert read_json_object(tmp_path / "config.json") == {"name": "Grüße"}
