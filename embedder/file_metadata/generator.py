"""The generator that a file names: only where a program wrote the name of the model that it ran.

Conventions of AUTOMATIC1111's web interface and its descendants (`Model: ` in the line of settings,
or `Unet: ` where stable-diffusion.cpp leaves that empty), Fooocus, MFLUX, imaginAIry, InvokeAI,
ComfyUI and NovelAI, as they and the readers of others (sd-parsers, stable-diffusion-prompt-reader)
have them. That a picture calls itself synthetic, as by XMP's DigitalSourceType, names nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from embedder.file_metadata.statements import FileMetadata

# A line of settings is some hundreds of characters; the name comes among the first.
_MAX_SETTINGS = 4_096
_MAX_NAME = 256
# A quoted value of another setting is stepped over: it may hold anything.
_SETTING = re.compile(r'"(?:[^"\\]|\\.)*"|(?:^|, )(Model|Unet): ("(?:[^"\\]|\\.)*"|[^,]*)')
_SUFFIX = re.compile(r"\.(safetensors|sft|ckpt|pth?|bin|gguf)$", re.IGNORECASE)
_NO_NAMES = frozenset({"none", "null", "unknown"})
_COMFY_INPUTS = ("ckpt_name", "unet_name")


def find_generator(stated: FileMetadata) -> tuple[str, str] | None:
    """The model's name as it is written, and the key that it came from; None where none is plainly
    named.

    Names of files lose their folder and suffix. A graph with several models names none of them
    plainly.
    """
    for key, name in _named(stated):
        if name and _is_name(name):
            return name, key
    return None


def _named(stated: FileMetadata) -> Iterator[tuple[str, str | None]]:
    """Candidates, those that were written for this very picture first."""
    for key in ("png:parameters", "exif:UserComment"):
        text = _text(stated, key)
        yield key, _json_settings(_json(text)) or _settings(text)
    yield (
        "png:invokeai_metadata",
        _invokeai(_json(_text(stated, "png:invokeai_metadata")).get("model")),
    )
    yield "png:sd-metadata", _string(_json(_text(stated, "png:sd-metadata")).get("model_weights"))
    yield "png:prompt", _comfyui(_text(stated, "png:prompt"))
    for key in ("exif:Model", "exif:Make"):  # where ComfyUI puts it into WebP
        yield key, _comfyui(_text(stated, key).removeprefix("prompt:"))
    yield "png:Source", _novelai(_text(stated, "png:Software"), _text(stated, "png:Source"))


def _settings(text: str) -> str | None:
    """The model in the last line that begins with the number of steps; a value with a comma is
    quoted as in JSON.
    """
    start = text.rfind("\nSteps: ") + 1
    if not start and not text.startswith("Steps: "):
        return None
    line = text[start:].partition("\n")[0][:_MAX_SETTINGS]
    values = {found[1]: found[2].strip() for found in _SETTING.finditer(line) if found[1]}
    value = values.get("Model") or values.get("Unet") or ""
    return _file_name((_string(_loads(value)) or "") if value.startswith('"') else value)


def _json_settings(settings: Mapping[str, object]) -> str | None:
    """The model in the JSON of Fooocus, whose older releases have another key, of MFLUX or of
    imaginAIry.
    """
    if "mflux_version" in settings:
        return _string(settings.get("model"))
    prompt = settings.get("prompt")
    if isinstance(prompt, dict) and str(prompt.get("software")).lower() == "imaginairy":
        return _string(prompt.get("model"))
    return _file_name(
        _string(settings.get("base_model")) or _string(settings.get("Base Model")) or ""
    )


def _invokeai(model: object) -> str | None:
    if not isinstance(model, dict):
        return None
    return _string(model.get("name")) or _string(model.get("model_name"))


def _comfyui(text: str) -> str | None:
    """The one model that the loaders of a prompt load; nodes that estimate depth or else have
    checkpoints too.
    """
    nodes = [node for node in _json(text).values() if isinstance(node, dict)]
    inputs = [
        node.get("inputs") for node in nodes if "loader" in str(node.get("class_type")).lower()
    ]
    names = {
        _string(each.get(name))
        for each in inputs
        if isinstance(each, dict)
        for name in _COMFY_INPUTS
    } - {None}
    return _file_name(names.pop() or "") if len(names) == 1 else None


def _novelai(software: str, source: str) -> str | None:
    """Its `Source` is the model with a hash: "Stable Diffusion 1D44365E", "NovelAI Diffusion V4.5
    4BDE2A90".
    """
    if software != "NovelAI" or not source:
        return None
    return source if source.startswith(software) else f"{software} {source}"


def _file_name(path: str) -> str:
    return _SUFFIX.sub("", path.replace("\\", "/").rpartition("/")[2])


def _is_name(name: str) -> bool:
    """A name that can be shown and stored: JSON can spell NUL and half a surrogate pair."""
    return len(name) <= _MAX_NAME and name.isprintable() and name.lower() not in _NO_NAMES


def _text(stated: FileMetadata, key: str) -> str:
    """A text that is whole; of one that was cut nothing is concluded."""
    text = stated.get(key)
    return text if isinstance(text, str) else ""


def _string(value: object) -> str | None:
    return value.strip() if isinstance(value, str) else None


def _json(text: str) -> Mapping[str, object]:
    value = _loads(text) if text.lstrip().startswith("{") else None
    return value if isinstance(value, dict) else {}


def _loads(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
