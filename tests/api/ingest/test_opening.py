"""The sources of a request are opened by what they are, within its roots."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from api.errors import SourceNotAllowed
from api.ingest.opening import holds_only_embeddings, open_any
from api.ingest.request import IngestRequest
from api.ingest.spool import keep_list
from api.sources.folder import FolderSource
from api.sources.manifest import ManifestSource
from api.sources.paths import PathsSource
from api.sources.ready import ReadyArrays


def request(**stated: object) -> IngestRequest:
    return IngestRequest.model_validate({"sources": ["/x"], "corpus": "known"} | stated)


def test_a_source_outside_of_the_roots_is_not_opened(tmp_path: Path) -> None:
    for roots in ([], [str(tmp_path / "in")]):
        with pytest.raises(SourceNotAllowed):
            open_any(str(tmp_path), request(roots=roots), tmp_path)


def test_each_source_is_opened_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("image\n/x/a.png\n")
    np.save(tmp_path / "vectors.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "vectors.csv").write_text("sha256,logit\n" + f"{'a' * 64},0\n" * 3)
    kept = keep_list(io.BytesIO(b"a.png\n"), tmp_path)
    found = {
        name: open_any(str(tmp_path / name), request(path_column="image"), tmp_path)
        for name in ("", "list.csv", "vectors.npy", kept.name)
    }

    assert isinstance(found[""], FolderSource)
    assert isinstance(found["list.csv"], ManifestSource)
    assert isinstance(found["vectors.npy"], ReadyArrays)
    assert isinstance(found[kept.name], PathsSource)
    for source in found.values():
        source.close()


def test_a_list_outside_of_the_upload_folder_is_no_list_from_standard_input(
    tmp_path: Path,
) -> None:
    kept = keep_list(io.BytesIO(b"a.png\n"), tmp_path)

    opened = open_any(str(kept), request(), tmp_path / "elsewhere")

    assert not isinstance(opened, PathsSource)
    opened.close()


def test_only_ready_embeddings_need_no_network(tmp_path: Path) -> None:
    """A source that cannot be opened may hold images."""
    np.save(tmp_path / "vectors.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "vectors.csv").write_text("sha256,logit\n" + f"{'a' * 64},0\n" * 3)
    np.save(tmp_path / "alone.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    vectors = str(tmp_path / "vectors.npy")
    others = [str(tmp_path), *(str(tmp_path / name) for name in ("alone.npy", "cut.safetensors"))]

    assert holds_only_embeddings(request(sources=[vectors, vectors]))
    for other in others:
        assert not holds_only_embeddings(request(sources=[vectors, other]))
    assert not holds_only_embeddings(request(sources=[vectors], roots=[str(tmp_path / "in")]))
