"""Which layers of Hugging Face's Perceiver are which of ours. Needs transformers."""


def attention_layers(attention):
    """dict path in our block -> layer of a `PerceiverAttention`."""
    own = attention.self
    layers = {
        "attention.query": own.query,
        "attention.key": own.key,
        "attention.value": own.value,
        "attention.attention_output": attention.output.dense,
    }
    if hasattr(own.layernorm2, "weight"):
        return layers | {"query_norm": own.layernorm1, "inputs_norm": own.layernorm2}
    return layers | {"norm": own.layernorm1}


def block_layers(layer):
    """dict path in our block -> layer of a `PerceiverLayer`."""
    return attention_layers(layer.attention) | {
        "mlp_norm": layer.layernorm,
        "mlp.hidden": layer.mlp.dense1,
        "mlp.result": layer.mlp.dense2,
    }


def encoder_layers(encoder):
    """dict path in our encoder -> layer of a `PerceiverEncoder`."""
    blocks = {"cross_attends.0": encoder.cross_attention}
    for i, layer in enumerate(encoder.self_attends):
        blocks[f"latent_blocks.0.layers.{i}"] = layer
    return {
        f"{prefix}.{path}": own
        for prefix, block in blocks.items()
        for path, own in block_layers(block).items()
    }
