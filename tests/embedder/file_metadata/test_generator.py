from __future__ import annotations

import json

import pytest

from embedder.file_metadata.generator import find_generator
from embedder.file_metadata.statements import FileMetadata
from tests.work import forbid_hanging

SETTINGS = "a cat, Model: not this one\nNegative prompt: a dog\nSteps: 20, Sampler: Euler, "


def graph(*nodes: tuple[str, dict[str, object]]) -> str:
    made = {
        str(n): {"class_type": kind, "inputs": inputs} for n, (kind, inputs) in enumerate(nodes)
    }
    return json.dumps(
        {
            **made,
            "90": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}},
            "odd": ["not a node"],
        }
    )


CHECKPOINT = ("CheckpointLoaderSimple", {"ckpt_name": "sub\\folder/some-model_v1.5.safetensors"})
UNET = ("UnetLoaderGGUF", {"unet_name": "flux1-dev-Q8_0.gguf"})
DEPTH = ("DepthAnythingPreprocessor", {"ckpt_name": "depth_anything_vitl14.pth"})

NOTHING_PLAIN: dict[str, FileMetadata] = {
    "nothing": {},
    "a synthetic source": {
        "xmp:DigitalSourceType": "trainedAlgorithmicMedia",
        "xmp:CreatorTool": "Some Tool",
    },
    "a camera": {
        "exif:Make": "Canon",
        "exif:Model": "Canon EOS R5",
        "exif:UserComment": "Model: mine",
    },
    "a prompt that speaks of a model": {"png:parameters": "a photo, Model: beautiful"},
    "settings without a name": {"png:parameters": SETTINGS + "Model hash: 0123456789"},
    "an empty name": {"png:parameters": SETTINGS + "Model: , RNG: cuda"},
    "the word None": {"png:parameters": json.dumps({"base_model": "None"})},
    "a name within another's quotes": {
        "png:parameters": SETTINGS + 'Lora hashes: "a: b, Model: c"'
    },
    "two checkpoints": {"png:prompt": graph(CHECKPOINT, UNET)},
    "only a checkpoint that is no model": {"png:prompt": graph(DEPTH)},
    "a workflow that need not have made it": {
        "png:workflow": json.dumps({"nodes": [{"widgets_values": ["x.ckpt"]}]})
    },
    "a text that was cut": {
        "png:prompt": {"text": graph(CHECKPOINT), "characters": 1, "sha256": "", "cut": True}
    },
    "broken JSON": {
        "png:prompt": graph(CHECKPOINT)[:-1],
        "png:invokeai_metadata": "{",
        "png:sd-metadata": "[]",
    },
    "JSON of another form": {
        "png:prompt": '{"1": 2, "2": {"inputs": []}}',
        "png:invokeai_metadata": '{"model": 7}',
    },
    "NovelAI without its model": {"png:Software": "NovelAI", "png:Comment": "{}"},
    "another program's source": {
        "png:Software": "Some Editor",
        "png:Source": "Stable Diffusion 1D44365E",
    },
    "NUL in JSON": {"png:sd-metadata": r'{"model_weights": "a\u0000b"}'},
    "half a surrogate pair in JSON": {"png:sd-metadata": r'{"model_weights": "a\ud800"}'},
    "a name too long to be one": {"png:parameters": SETTINGS + "Model: " + "x" * 300},
    "an early dream without a model": {
        "png:Dream": '"a cat" -s 50 -S 1 -W 512 -H 768 -C 5 -A k_lms'
    },
}

PLAIN: dict[str, tuple[FileMetadata, tuple[str, str]]] = {
    "AUTOMATIC1111": (
        {
            "png:parameters": SETTINGS
            + "Model hash: c0d1994c73, Model: realistic_v20, Version: v1.6.0"
        },
        ("realistic_v20", "png:parameters"),
    ),
    "its JPEG": (
        {"exif:UserComment": SETTINGS + "Model: realistic_v20"},
        ("realistic_v20", "exif:UserComment"),
    ),
    "settings alone": ({"png:parameters": "Steps: 4, Model: tiny"}, ("tiny", "png:parameters")),
    "a name in quotes": (
        {"png:parameters": SETTINGS + r'Model: "a, \"b\": c"'},
        ('a, "b": c', "png:parameters"),
    ),
    "a name behind quotes": (
        {
            "png:parameters": SETTINGS
            + 'Lora hashes: "a: b, Model: c", Model: d\nTemplate: Model: e'
        },
        ("d", "png:parameters"),
    ),
    "stable-diffusion.cpp": (
        {"png:parameters": SETTINGS + "Model: a.safetensors, RNG: cuda"},
        ("a", "png:parameters"),
    ),
    "its unet": (
        {"png:parameters": SETTINGS + "Model: , RNG: cuda, TE: t5.gguf, Unet: flux-dev-Q4.gguf"},
        ("flux-dev-Q4", "png:parameters"),
    ),
    "Fooocus": (
        {"png:parameters": '{"base_model": "juggernautXL_v8"}'},
        ("juggernautXL_v8", "png:parameters"),
    ),
    "its JPEG, older": (
        {"exif:UserComment": '{"Base Model": "juggernautXL_v8.safetensors"}'},
        ("juggernautXL_v8", "exif:UserComment"),
    ),
    "MFLUX": (
        {
            "exif:UserComment": '{"mflux_version": "0.16", "model": "Qwen/Qwen-Image", '
            '"base_model": "None"}'
        },
        ("Qwen/Qwen-Image", "exif:UserComment"),
    ),
    "imaginAIry": (
        {"exif:UserComment": '{"prompt": {"software": "imaginAIry", "model": "SD-1.5"}}'},
        ("SD-1.5", "exif:UserComment"),
    ),
    "InvokeAI 3": (
        {
            "png:invokeai_metadata": '{"model": {"model_name": "dreamshaper-8", '
            '"base_model": "sd-1"}}'
        },
        ("dreamshaper-8", "png:invokeai_metadata"),
    ),
    "InvokeAI 4": (
        {
            "png:invokeai_metadata": '{"model": {"key": "k", "name": "Dreamshaper 8", '
            '"base": "sd-1"}}'
        },
        ("Dreamshaper 8", "png:invokeai_metadata"),
    ),
    "InvokeAI 2": (
        {
            "png:sd-metadata": '{"model": "stable diffusion", '
            '"model_weights": "stable-diffusion-1.5"}'
        },
        ("stable-diffusion-1.5", "png:sd-metadata"),
    ),
    "ComfyUI": (
        {"png:prompt": graph(CHECKPOINT, DEPTH), "png:workflow": "{}"},
        ("some-model_v1.5", "png:prompt"),
    ),
    "ComfyUI, one model twice": (
        {"png:prompt": graph(UNET, UNET)},
        ("flux1-dev-Q8_0", "png:prompt"),
    ),
    "ComfyUI's WebP": (
        {"exif:Model": "prompt:" + graph(CHECKPOINT)},
        ("some-model_v1.5", "exif:Model"),
    ),
    "NovelAI": (
        {"png:Software": "NovelAI", "png:Source": "Stable Diffusion 1D44365E"},
        ("NovelAI Stable Diffusion 1D44365E", "png:Source"),
    ),
    "NovelAI, later": (
        {"png:Software": "NovelAI", "png:Source": "NovelAI Diffusion V4.5 4BDE2A90"},
        ("NovelAI Diffusion V4.5 4BDE2A90", "png:Source"),
    ),
}


@pytest.mark.parametrize("case", NOTHING_PLAIN)
def test_nothing_is_named_where_the_file_does_not_plainly_name_a_model(case: str) -> None:
    assert find_generator(NOTHING_PLAIN[case]) is None


@pytest.mark.parametrize(
    "hostile",
    [
        '{"1":' * 20_000,
        "[" * 60_000,
        SETTINGS + '"\\"' * 30_000,
        "\nSteps: " * 8_000,
        SETTINGS + ", Model: " * 7_000,
        SETTINGS + "Model: " + '"' * 60_000,
    ],
)
def test_hostile_text_takes_little_time(hostile: str) -> None:
    """Each takes milliseconds; an expression that backtracks would take hours."""
    hostile *= 10
    with forbid_hanging():
        for key in ("png:parameters", "png:prompt", "png:invokeai_metadata"):
            find_generator({key: hostile})


@pytest.mark.parametrize("case", PLAIN)
def test_the_model_is_named_as_it_is_written_with_the_place_where_it_stands(case: str) -> None:
    says, expected = PLAIN[case]
    assert find_generator(says) == expected
