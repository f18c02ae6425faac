"""Writing of the trained ViT in the published layout: old Hugging Face tensor names, `config.json`
and preprocessing.
"""

from pathlib import Path

from safetensors.torch import save_file

from embedder.network.registry import CONFIG_FILE, PREPROCESSING_FILE, WEIGHTS_FILE
from embedder.network.tensor_names import to_published
from embedder.training.files import write_json, write_whole
from embedder.training.vit import MEAN, STD, TrainedViT


def export(model: TrainedViT, directory: Path) -> None:
    """Write the three files that `Embedder.load(directory)` reads, without the generator head."""
    architecture = model.vit.architecture
    write_json(
        directory / CONFIG_FILE,
        {
            "architectures": ["ViTForImageClassification"],
            "model_type": "vit",
            "hidden_size": architecture.hidden_size,
            "num_hidden_layers": architecture.num_hidden_layers,
            "num_attention_heads": architecture.num_attention_heads,
            "intermediate_size": architecture.intermediate_size,
            "hidden_act": architecture.hidden_act,
            "image_size": architecture.image_size,
            "patch_size": architecture.patch_size,
            "num_channels": 3,
            "qkv_bias": architecture.qkv_bias,
            "layer_norm_eps": architecture.layer_norm_eps,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "id2label": {"0": "synthetic"},
            "label2id": {"synthetic": 0},
        },
    )
    write_json(
        directory / PREPROCESSING_FILE,
        {
            "image_processor_type": "CLIPImageProcessor",
            "do_resize": False,
            "do_center_crop": True,
            "crop_size": architecture.image_size,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [MEAN] * 3,
            "image_std": [STD] * 3,
        },
    )
    tensors = to_published(model.vit.state_dict())
    write_whole(
        directory / WEIGHTS_FILE, lambda path: save_file(tensors, path, metadata={"format": "pt"})
    )
