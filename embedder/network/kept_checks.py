"""Outcomes of the panel check that are kept in a folder, so that a model loads quickly again.

The check computes the panel twice, once in float32 on the CPU: some seconds for a large model. Its
outcome depends on the weights, the preprocessing, the device, torch, the panel and the code of the
forward; all of them are in the name of the file. A file that is missing or broken means only that
the check is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from embedder.errors import InvalidModelConfig
from embedder.jsonfile import read_json_object
from embedder.network import float32, forward, patches, reduced, vit
from embedder.network.device import DeviceKind, Placement, cpu_has_native_bfloat16
from embedder.network.panel import Panel, PanelCheck, judge
from embedder.network.panel_pictures import compute_panel_digest

_CODE = (float32, forward, patches, reduced, vit)
_checked: dict[CheckKey, PanelCheck] = {}  # of this process, which may load a model twice


@dataclass(frozen=True, slots=True)
class CheckKey:
    """What the outcome of a check depends on."""

    space_fingerprint: str
    precision: str
    hardware: str
    torch: str
    panel: str
    code: str

    @property
    def file_name(self) -> str:
        """The name of the file with the outcome."""
        canonical = json.dumps(asdict(self), sort_keys=True).encode()
        return f"{hashlib.sha256(canonical).hexdigest()}.json"


def check_placement(
    panel: Panel, space_fingerprint: str, placement: Placement, folder: Path | None
) -> PanelCheck:
    """Return the outcome of a check that this process made, or that the folder keeps, or of a new
    one, which is kept.
    """
    key = make_key(space_fingerprint, placement)
    kept = None if folder is None else find_check(folder, key, placement.device)
    check = kept or _checked.get(key) or panel.check(placement)
    if folder is not None and kept is None:
        keep_check(folder, key, check)
    _checked[key] = check
    return replace(check, device=placement.device)


def make_key(space_fingerprint: str, placement: Placement) -> CheckKey:
    """Describe the check of a model on this machine."""
    return CheckKey(
        space_fingerprint,
        placement.precision.value,
        _describe_hardware(placement),
        f"{torch.__version__} {torch.version.cuda}",
        compute_panel_digest(),
        _compute_code_digest(),
    )


def find_check(folder: Path, key: CheckKey, device: str) -> PanelCheck | None:
    """Return a kept outcome; None if there is none, or none that can be read."""
    try:
        kept = read_json_object(folder / key.file_name)
        return _parse(kept, key, device)
    except (OSError, InvalidModelConfig, KeyError, TypeError, ValueError):
        return None


def keep_check(folder: Path, key: CheckKey, check: PanelCheck) -> None:
    """Keep an outcome. Does nothing where the folder above does not exist or is not writable."""
    kept = asdict(check) | asdict(key)
    path = folder / key.file_name
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with contextlib.suppress(OSError):
        if folder.parent.is_dir():
            folder.mkdir(exist_ok=True)
            partial.write_text(json.dumps(kept, indent=1, sort_keys=True), encoding="utf-8")
            partial.replace(path)


def _parse(kept: dict[str, Any], key: CheckKey, device: str) -> PanelCheck:
    if any(kept[name] != value for name, value in asdict(key).items()):
        raise ValueError("the file is that of another check")
    images, cosine = int(kept["images"]), float(kept["smallest_cosine"])
    difference = float(kept["largest_logit_difference"])
    if images < 1 or not -1 <= cosine <= 1 or not 0 <= difference < math.inf:
        raise ValueError("impossible figures")
    return judge(key.precision, device, images, cosine, difference)


def _describe_hardware(placement: Placement) -> str:
    if placement.kind is DeviceKind.CUDA:
        return str(torch.cuda.get_device_name(placement.device))
    parts = [placement.kind.value, platform.machine()]
    if placement.kind is DeviceKind.CPU:
        parts += [torch.backends.cpu.get_cpu_capability(), str(cpu_has_native_bfloat16())]
    return " ".join(parts)


def _compute_code_digest() -> str:
    digest = hashlib.sha256()
    for module in _CODE:
        assert module.__file__ is not None
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()
