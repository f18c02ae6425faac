"""The generator that a file names: only where a program wrote the name of the model that it ran.

Recognised are AUTOMATIC1111's web interface and its descendants (`Model: ` in the line of settings,
or `Unet: ` where stable-diffusion.cpp leaves that empty), Fooocus, MFLUX, imaginAIry, InvokeAI,
ComfyUI and NovelAI. The conventions come from these programs and from other readers (sd-parsers,
stable-diffusion-prompt-reader). A file that only calls itself synthetic, as with XMP's
DigitalSourceType, names no generator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from embedder.file_metadata.statements import FileMetadata

# A line of settings has a few hundred characters; the name is among the first.
_MAX_SETTINGS = 4_096
_MAX_NAME = 256
# A quoted value of another setting is skipped, because it may contain anything.
# `*+` gives nothing back: many quotes without an end take a fifth of the time.
_SETTING = re.compile(r'"(?:[^"\\]|\\.)*+"|(?:^|, )(Model|Unet): ("(?:[^"\\]|\\.)*+"|[^,]*)')
_SUFFIX = re.compile(r"\.(safetensors|sft|ckpt|pth?|bin|gguf)$", re.IGNORECASE)
_NO_NAMES = frozenset({"none", "null", "unknown"})
_COMFY_INPUTS = ("ckpt_name", "unet_name")


def find_generator(metadata: FileMetadata) -> tuple[str, str] | None:
    """Return the model's name as it is written, and the key of the text; None where none is clearly
    named.

    File names lose their folder and suffix. A graph with several models names none of them clearly.
    """
    for key, name in _find_candidates(metadata):
        if name and _is_name(name):
            return name, key
    return None


def _find_candidates(metadata: FileMetadata) -> Iterator[tuple[str, str | None]]:
    """Yield candidates; those that were written for this very picture come first."""
    for key in ("png:parameters", "exif:UserComment"):
        text = _get_text(metadata, key)
        yield key, _find_in_json(_parse_object(text)) or _find_in_settings(text)
    yield (
        "png:invokeai_metadata",
        _find_in_invokeai(_parse_object(_get_text(metadata, "png:invokeai_metadata")).get("model")),
    )
    yield (
        "png:sd-metadata",
        _as_string(_parse_object(_get_text(metadata, "png:sd-metadata")).get("model_weights")),
    )
    yield "png:prompt", _find_in_comfyui(_get_text(metadata, "png:prompt"))
    for key in ("exif:Model", "exif:Make"):  # where ComfyUI puts it into WebP
        yield key, _find_in_comfyui(_get_text(metadata, key).removeprefix("prompt:"))
    yield (
        "png:Source",
        _find_in_novelai(_get_text(metadata, "png:Software"), _get_text(metadata, "png:Source")),
    )


def _find_in_settings(text: str) -> str | None:
    """Find the model in the last line that begins with the number of steps.

    A value that contains a comma is quoted as in JSON.
    """
    start = text.rfind("\nSteps: ") + 1
    if not start and not text.startswith("Steps: "):
        return None
    line = text[start:].partition("\n")[0][:_MAX_SETTINGS]
    values = {found[1]: found[2].strip() for found in _SETTING.finditer(line) if found[1]}
    value = values.get("Model") or values.get("Unet") or ""
    return _strip_file_name((_as_string(_parse(value)) or "") if value.startswith('"') else value)


def _find_in_json(settings: Mapping[str, object]) -> str | None:
    """Find the model in the JSON of Fooocus (older releases: another key), MFLUX or imaginAIry."""
    if "mflux_version" in settings:
        return _as_string(settings.get("model"))
    prompt = settings.get("prompt")
    if isinstance(prompt, dict) and str(prompt.get("software")).lower() == "imaginairy":
        return _as_string(prompt.get("model"))
    return _strip_file_name(
        _as_string(settings.get("base_model")) or _as_string(settings.get("Base Model")) or ""
    )


def _find_in_invokeai(model: object) -> str | None:
    if not isinstance(model, dict):
        return None
    return _as_string(model.get("name")) or _as_string(model.get("model_name"))


def _find_in_comfyui(text: str) -> str | None:
    """Find the one model that the loaders of a prompt load.

    Nodes for other tasks, such as depth estimation, have checkpoints too.
    """
    nodes = [node for node in _parse_object(text).values() if isinstance(node, dict)]
    inputs = [
        node.get("inputs") for node in nodes if "loader" in str(node.get("class_type")).lower()
    ]
    names = {
        _as_string(each.get(name))
        for each in inputs
        if isinstance(each, dict)
        for name in _COMFY_INPUTS
    } - {None}
    return _strip_file_name(names.pop() or "") if len(names) == 1 else None


def _find_in_novelai(software: str, source: str) -> str | None:
    """Read `Source`, which is the model with a hash.

    Examples: "Stable Diffusion 1D44365E", "NovelAI Diffusion V4.5 4BDE2A90".
    """
    if software != "NovelAI" or not source:
        return None
    return source if source.startswith(software) else f"{software} {source}"


def _strip_file_name(path: str) -> str:
    return _SUFFIX.sub("", path.replace("\\", "/").rpartition("/")[2])


def _is_name(name: str) -> bool:
    """Whether a name can be shown and stored: JSON can encode NUL and half a surrogate pair."""
    return len(name) <= _MAX_NAME and name.isprintable() and name.lower() not in _NO_NAMES


def _get_text(metadata: FileMetadata, key: str) -> str:
    """Return a complete text. Nothing is concluded from one that was cut."""
    text = metadata.get(key)
    return text if isinstance(text, str) else ""


def _as_string(value: object) -> str | None:
    return value.strip() if isinstance(value, str) else None


def _parse_object(text: str) -> Mapping[str, object]:
    value = _parse(text) if text.lstrip().startswith("{") else None
    return value if isinstance(value, dict) else {}


def _parse(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
