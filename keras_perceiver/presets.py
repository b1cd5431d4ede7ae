"""The papers' configurations as data."""

import difflib
import json
import os

# Adapter, positions and everything else as serialized Keras objects, so that a
# preset is what `save_to_preset` would write.
PRESETS = {
    "perceiver_imagenet": {
        "metadata": {
            "params": 44_912_254,
            "description": (
                "Perceiver for ImageNet on raw pixels of 224 x 224 images: 8 "
                "cross-attends, the first with weights of its own, and one latent "
                "transformer of 6 layers shared by all 8 iterations. Parameters with "
                "1,000 classes."
            ),
            "source": "https://arxiv.org/abs/2103.03206, section 4.1, appendix C",
        },
        "backbone": {
            "inputs": {
                "class_name": "ImageInput",
                "config": {
                    "shape": (224, 224, 3),
                    "positions": {
                        "class_name": "FourierPositions",
                        "config": {"num_bands": 64, "max_resolution": (224, 224)},
                    },
                },
            },
            "num_latents": 512,
            "latent_dim": 1024,
            "num_cross_attends": 8,
            "num_latent_blocks": 8,
            "num_layers_per_block": 6,
            "num_cross_heads": 1,
            "num_self_heads": 8,
            "cross_attend_sharing": "all_but_first",
            "latent_block_sharing": "all",
        },
    },
}


def is_preset(name):
    """Whether `name` is a preset of this package, not a path or a hub's handle."""
    return isinstance(name, str) and name in PRESETS


def backbone_config(name, load_weights):
    """The arguments of `kp.PerceiverBackbone` for a preset.

    Args:
        name: string, a key of `PRESETS`.
        load_weights: bool. Whether weights are asked for.

    Returns:
        dict of arguments; adapters are serialized.

    Raises:
        ValueError: where weights are asked for that nobody has published.
    """
    if load_weights:
        raise ValueError(
            f"Nobody has published weights for the preset {name!r}; pass "
            "`load_weights=False` for new ones. Received: load_weights=True"
        )
    return _with_modules(PRESETS[name]["backbone"])


def check_source(preset):
    """Raises where `preset` can be neither one of ours, a folder, nor a handle."""
    if "://" in preset or os.path.isdir(preset):
        return
    nearest = difflib.get_close_matches(preset, PRESETS, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ValueError(
        f"`preset` must be one of {sorted(PRESETS)}, a preset folder, or a handle "
        f"such as 'hf://user/model'; {hint}Received: preset={preset!r}"
    )


def saved_dtype(preset):
    """The name of the dtype policy that a preset folder was saved with.

    KerasHub would load mixed policies as none, and half precision as float32.

    Args:
        preset: string, a path or a handle.

    Returns:
        string; `None` for handles, and where layers have policies of their own.
    """
    file = os.path.join(preset, "config.json")
    if not os.path.isfile(file):
        return None
    with open(file) as opened:
        dtype = json.load(opened)["config"].get("dtype") or {}
    return dtype.get("config", {}).get("name")


def _with_modules(config):
    """Adds the name under which each class is registered."""
    if isinstance(config, dict):
        config = {key: _with_modules(value) for key, value in config.items()}
        if set(config) == {"class_name", "config"}:
            config["module"] = None
            config["registered_name"] = f"keras_perceiver>{config['class_name']}"
    return config
