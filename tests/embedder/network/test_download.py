from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from embedder.errors import (
    CorruptWeights,
    InvalidModelConfig,
    ModelUnavailable,
    UnknownModel,
    UnsafeWeights,
)
from embedder.network.download import fetch_model, list_models, locate_model
from embedder.network.embed import Embedder
from embedder.network.registry import MODELS, ModelSource, PinnedFile

ModelWriter = Callable[..., Path]

REVISION = "0123456789abcdef0123456789abcdef01234567"
NAMES = ("model.safetensors", "config.json", "preprocessor_config.json")


class Hub:
    """A small hub on this machine: answers for one repository at one revision, as huggingface.co
    does.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, str | None]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def _answer(self, *, with_body: bool) -> None:
                hub.asked.append((self.path, self.headers.get("Authorization")))
                name = self.path.rpartition("/")[2]
                path = hub.folder / name
                if f"/resolve/{REVISION}/" not in self.path or not path.is_file():
                    self.send_error(404)
                    return
                body = path.read_bytes()
                self.send_response(200)
                self.send_header("X-Repo-Commit", REVISION)
                self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def log_message(self, *_arguments: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        """Also a second time."""
        if not self.thread.is_alive():
            return
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def hub(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = tmp_path / "hub"
    shutil.copytree(tiny_model, folder)
    hub = Hub(folder)
    point_at(hub.address, monkeypatch)
    yield hub
    hub.close()


def point_at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def source_of(folder: Path) -> ModelSource:
    pins = [
        PinnedFile(
            name,
            (folder / name).stat().st_size,
            hashlib.sha256((folder / name).read_bytes()).hexdigest(),
        )
        for name in NAMES
    ]
    return ModelSource(
        "tiny", "a test", "MIT", hub_id="somebody/tiny", revision=REVISION, pinned=tuple(pins)
    )


def test_a_pinned_model_is_fetched_once_verified_and_described(
    hub: Hub, tiny_model: Path, tmp_path: Path
) -> None:
    source = source_of(tiny_model)
    files = fetch_model(source, tmp_path / "cache")
    assert (files.name, files.revision, files.licence) == ("tiny", REVISION, "MIT")
    assert files.weights[0].read_bytes() == (tiny_model / "model.safetensors").read_bytes()
    files_asked = [path for path, _ in hub.asked if "/resolve/" in path]
    assert files_asked
    assert all(f"/somebody/tiny/resolve/{REVISION}/" in path for path in files_asked)
    assert all(authorization is None for _, authorization in hub.asked), (
        "no credential goes to the hub"
    )
    asked = len(hub.asked)
    assert (
        fetch_model(source, tmp_path / "cache")
        == fetch_model(source, tmp_path / "cache", offline=True)
        == files
    )
    assert len(hub.asked) == asked, "what is in the cache is not asked for again"


@pytest.mark.parametrize("name", NAMES)
def test_a_download_that_is_not_what_was_pinned_is_never_used(
    hub: Hub, tiny_model: Path, tmp_path: Path, name: str
) -> None:
    changed = bytearray((hub.folder / name).read_bytes())
    changed[-2] ^= 1
    (hub.folder / name).write_bytes(changed)
    source = source_of(tiny_model)
    for _ in range(2):  # the second time from the cache
        with pytest.raises(CorruptWeights, match=r"delete .* and try again") as refused:
            fetch_model(source, tmp_path / "cache")
        assert name in str(refused.value)


def test_without_a_network_one_line_says_what_to_do(
    tiny_model: Path, tmp_path: Path, hub: Hub
) -> None:
    hub.close()
    with pytest.raises(ModelUnavailable) as refused:
        fetch_model(source_of(tiny_model), tmp_path / "cache")
    line = str(refused.value)
    assert "\n" not in line
    assert "tiny could not be fetched" in line
    assert "local directory" in line
    assert "'builtin'" in line


def test_offline_nothing_is_asked_for(hub: Hub, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"downloads are off.*local directory.*builtin"):
        fetch_model(source_of(tiny_model), tmp_path / "cache", offline=True)
    assert not hub.asked


def test_a_named_model_that_is_not_there_is_unavailable_offline(tmp_path: Path) -> None:
    for name in ("community-forensics", "community-forensics-384-original"):
        with pytest.raises(ModelUnavailable, match=name):
            Embedder.load(name, cache_dir=tmp_path, offline=True)


def test_a_name_that_is_neither_model_nor_directory_lists_the_models() -> None:
    with pytest.raises(
        UnknownModel, match="community-forensics, community-forensics-384-original, builtin"
    ):
        locate_model("comunity-forensics")


def test_a_local_directory_names_what_it_lacks(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"has no model\.safetensors"):
        locate_model(tmp_path)
    shutil.copy(tiny_model / "model.safetensors", tmp_path)
    with pytest.raises(ModelUnavailable, match=r"lacks config\.json and preprocessor_config\.json"):
        locate_model(tmp_path)
    shutil.copy(tiny_model / "config.json", tmp_path)
    with pytest.raises(ModelUnavailable, match=r"lacks preprocessor_config\.json"):
        locate_model(tmp_path)
    shutil.copy(tiny_model / "preprocessor_config.json", tmp_path)
    assert locate_model(tmp_path).name == tmp_path.name
    with pytest.raises(ModelUnavailable, match="is a file: give the directory"):
        locate_model(tmp_path / "model.safetensors")


def test_a_directory_of_pickles_is_unsafe_not_incomplete(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(UnsafeWeights, match=r"pytorch_model\.bin"):
        locate_model(tmp_path)
    with pytest.raises(UnsafeWeights, match=r"pytorch_model\.bin"):
        locate_model(tmp_path / "pytorch_model.bin")


def test_a_preprocessing_that_does_not_fit_the_model_is_refused(
    tmp_path: Path, model_writer: ModelWriter
) -> None:
    frozen = {"do_resize": False, "crop_size": 40, "do_normalize": False}
    with pytest.raises(InvalidModelConfig, match="the crop has 40 pixels, but the model reads 32"):
        locate_model(model_writer(tmp_path, preprocessing=frozen))


def test_a_directory_with_the_pinned_weights_alone_is_recognised(
    tmp_path: Path, published_checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The original checkpoint publishes no configuration: a copy of its one file is enough."""
    weights = published_checkpoints["timm"] / "model.safetensors"
    pin = PinnedFile(
        "model.safetensors",
        weights.stat().st_size,
        hashlib.sha256(weights.read_bytes()).hexdigest(),
    )
    original = MODELS["community-forensics-384-original"]
    known = ModelSource(
        original.name,
        "",
        "MIT",
        original.hub_id,
        original.revision,
        (pin,),
        original.architecture,
        original.preprocessing,
    )
    monkeypatch.setattr("embedder.network.download.MODELS", {known.name: known})
    (tmp_path / "model.safetensors").symlink_to(weights)
    files = locate_model(tmp_path)
    assert (files.name, files.revision, files.preprocessing) == (
        known.name,
        known.revision,
        known.preprocessing,
    )


def test_figures_beside_the_weights_are_read_and_checked(tmp_path: Path, tiny_model: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    measured = {
        "generators": ["demo-nearest", "demo-bilinear"],
        "similarity_threshold": 0.93,
        "threshold_source": "1,000 photographs, FMR 0.01",
        "synthetic_logit": 1,
        "no_traces_logit": -1.5,
        "logit_source": "held-out photographs",
        "auc": 0.99,
    }
    (folder / "measured.json").write_text(json.dumps(measured))
    info = Embedder.load(folder).info
    assert info.caution is None
    assert info.is_measured
    assert info.generators == ("demo-nearest", "demo-bilinear")
    assert (info.similarity_threshold, info.synthetic_logit, info.no_traces_logit) == (
        0.93,
        1.0,
        -1.5,
    )
    for broken in (
        {"similarity_threshold": "high"},
        {"generators": "all"},
        {"logit_source": 3},
        {"synthetic_logit": True},
    ):
        (folder / "measured.json").write_text(json.dumps(measured | broken))
        with pytest.raises(InvalidModelConfig, match=r"measured\.json"):
            locate_model(folder)


def test_models_are_listed_without_loading_or_fetching_any(hub: Hub, tmp_path: Path) -> None:
    listed = {each.name: each for each in list_models(tmp_path / "cache")}
    assert list(listed) == [
        "community-forensics",
        "community-forensics-384-original",
        "builtin",
    ]
    default = listed["community-forensics"]
    assert (default.available, default.byte_size, default.licence) == (False, 87_270_764, "MIT")
    assert default.revision == "ac6ee457bea904a373065754107451793b56db00"
    assert not hub.asked


def test_the_registry_pins_what_the_publishers_published() -> None:
    pins = {
        name: {pin.name: (pin.byte_size, pin.sha256) for pin in MODELS[name].pinned}
        for name in MODELS
    }
    default = pins["community-forensics"]
    assert default["model.safetensors"] == (
        87_270_764,
        "275ba982236ddd6afddf7131f8133e89f537574b964cf8fa5825b4956d741692",
    )
    assert default["config.json"] == (
        524,
        "4b425d089842fecf8f25fc52aa44d09f49607ef89a0e2ff685ced6ec1c70e9b1",
    )
    assert default["preprocessor_config.json"] == (
        306,
        "d5e70eaba99880a52978157cf4e6ee71502fed9479dd7b659854107e131ee8f6",
    )
    assert pins["community-forensics-384-original"] == {
        "model.safetensors": (
            87_262_324,
            "b89f36275f3bf5e2b040eee36597a8f19db051bff9a473a9cf7b2466284fb387",
        )
    }
