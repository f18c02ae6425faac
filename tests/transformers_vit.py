"""transformers' own ViT with the weights of ours: the oracle of tests, the peer of benchmarks."""

from __future__ import annotations

from transformers import ViTConfig, ViTForImageClassification

from embedder.network.vit import ViT


def make_transformers_vit(model: ViT) -> ViTForImageClassification:
    """Return transformers' model with the same weights, in evaluation mode."""
    shape = model.architecture
    config = ViTConfig(
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        intermediate_size=shape.intermediate_size,
        image_size=shape.image_size,
        patch_size=shape.patch_size,
        layer_norm_eps=shape.layer_norm_eps,
        hidden_act=shape.hidden_act,
        qkv_bias=shape.qkv_bias,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=1,
    )
    theirs = ViTForImageClassification(config)
    theirs.load_state_dict(model.state_dict())
    return theirs.eval()
