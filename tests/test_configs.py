"""The configs of the training script: one architecture, whatever is read."""

import importlib
import pathlib

import pytest

import keras_perceiver as kp
from adapters import build_adapter
from pipelines.recipes import find_recipe

CONFIGS = pathlib.Path(__file__).parent.parent / "scripts" / "configs"
# Those of the papers' sizes are in `test_published.py`.
PUBLISHED = {
    *("imagenet", "imagenet_learned", "modelnet40"),
    *("audioset_raw", "audioset_mel", "audioset_video"),
    *("audioset_raw_video", "audioset_mel_video"),
}
NAMES = sorted({file.stem for file in CONFIGS.glob("*.py")} - {"base"} - PUBLISHED)
AUDIO = {"rate": 1000, "num_samples": 400}
MEL = {
    **AUDIO,
    "num_mel_bins": 20,
    "frame_length": 50,
    "frame_step": 25,
    "mel_mean": 0.0,
    "mel_std": 1.0,
}
VIDEO = {"num_frames": 4, "frame_stride": 1, "image_size": (8, 8), "channels": 1}
# Of small data, what recipes find in data.
FOUND = {
    "audio": AUDIO,
    "image": {"image_size": (6, 6), "channels": 1},
    "points": {"num_points": 16, "num_features": 0, "use_mask": False},
    "text": {"length": 16},
    "video": VIDEO,
}


def recipe_of(modality, given):
    if modality == "audio_video":
        given = {name: recipe_of(name, given[name]) for name in ("audio", "video")}
        return find_recipe(modality)(**given)
    is_mel = given.get("representation") == "mel"
    given = {name: value for name, value in given.items() if value is not None}
    return find_recipe(modality)(**{**given, **(MEL if is_mel else FOUND[modality])})


def config_of(name):
    return importlib.import_module(f"configs.{name}").get_config()


def model_of(name):
    config = config_of(name)
    adapter = build_adapter(
        recipe_of(config.modality, config.data.recipe), config.adapter
    )
    backbone = kp.PerceiverBackbone(adapter, **config.model)
    return kp.PerceiverClassifier(backbone, 3)


def classes_in(layer, adapter):
    """Classes of all layers in a layer, in order, but for those of the adapter."""
    of_adapter = {id(part) for part in adapter._flatten_layers()}
    if adapter.grid_positions is not None:
        of_adapter |= {id(part) for part in adapter.grid_positions._flatten_layers()}
    return [type(x) for x in layer._flatten_layers() if id(x) not in of_adapter]


def architecture(model):
    """What each cross-attend, each layer of a latent block and the head are made of."""
    backbone = model.backbone
    adapter = backbone.adapter
    # Nothing is called but these, from the adapter's content to the latents.
    steps = {*backbone.cross_attends, *backbone.latent_blocks, backbone.latent_array}
    others = [layer for layer in backbone.layers if layer not in steps]
    assert {type(layer).__name__ for layer in others} <= {
        "InputLayer",
        type(adapter).__name__,
    }
    cross_attends = [classes_in(x, adapter) for x in backbone.cross_attends]
    layers = [
        classes_in(x, adapter) for block in backbone.latent_blocks for x in block.layers
    ]
    # All layers of a kind are alike; how many there are is a size.
    assert all(x == cross_attends[0] for x in cross_attends)
    assert all(x == layers[0] for x in layers)
    head = [type(x) for x in model.layers if x not in (backbone, *backbone.layers)]
    return {
        "latent_array": type(backbone.latent_array),
        "cross_attend": cross_attends[0],
        "latent_block": {type(block) for block in backbone.latent_blocks},
        "latent_layer": layers[0],
        "head": head,
    }


@pytest.fixture(scope="module")
def of_digits():
    return architecture(model_of("digits"))


@pytest.mark.parametrize("name", NAMES)
def test_one_architecture(name, of_digits):
    found = architecture(model_of(name))
    assert found == of_digits
    assert kp.layers.CrossAttention in found["cross_attend"]
    assert kp.layers.SelfAttention in found["latent_layer"]


@pytest.mark.parametrize(
    "name, changed, message",
    [
        ("audio_mel", {"patch_size": (2, 10, 3)}, r"one size for each of the 2 axes"),
        ("audio_mel", {"patch_size": (0, 10)}, "Received: patch_size=0"),
        ("video", {"patch_size": (2, 4)}, r"one size for each of the 3 axes"),
        ("audio_raw", {"segment_length": 0}, "Received: segment_length=0"),
    ],
)
def test_sizes_of_patches_that_are_none(name, changed, message):
    config = config_of(name)
    recipe = recipe_of(config.modality, config.data.recipe)
    with pytest.raises(ValueError, match=message):
        build_adapter(recipe, {**config.adapter, **changed})


def test_a_patch_may_be_all_of_an_axis():
    config = config_of("audio_mel")
    recipe = recipe_of(config.modality, config.data.recipe)
    adapter = build_adapter(recipe, {**config.adapter, "patch_size": (2, None)})
    assert adapter.patch_size == (2, 20) and adapter.num_inputs == 8


@pytest.mark.parametrize(
    "settings, adapter_class, num_inputs, channels",
    [
        ({}, kp.inputs.ImageInput, 36, 1 + 26),
        ({"patch_size": (3, 2)}, kp.inputs.ImageInput, 6, 6 + 26),
        ({"projection_dim": 5, "position_dim": 9}, kp.inputs.ImageInput, 36, 14),
        ({"conv_features": 8}, kp.inputs.ConvImageInput, 4, 8 + 26),
        ({"permutation_seed": 0}, kp.inputs.PermutedImageInput, 36, 1 + 26),
        (
            {"permutation_seed": 0, "position_dim": 9},
            kp.inputs.PermutedImageInput,
            36,
            1 + 9,
        ),
    ],
)
def test_images_are_read_as_the_config_says(
    settings, adapter_class, num_inputs, channels
):
    config = config_of("digits")
    recipe = recipe_of("image", config.data.recipe)
    adapter = build_adapter(recipe, {**config.adapter, **settings})
    assert type(adapter) is adapter_class
    assert (adapter.num_inputs, adapter.channels) == (num_inputs, channels)


def test_two_ways_to_read_an_image_are_refused():
    config = config_of("digits")
    recipe = recipe_of("image", config.data.recipe)
    settings = {**config.adapter, "patch_size": (2, 2), "permutation_seed": 0}
    with pytest.raises(ValueError, match="projection_dim and permutation_seed"):
        build_adapter(recipe, settings)


def test_permuted_digits_differ_from_digits_in_the_order_of_pixels_alone():
    plain, permuted = model_of("digits"), model_of("permuted_digits")
    assert isinstance(permuted.backbone.adapter, kp.inputs.PermutedImageInput)
    assert permuted.count_params() == plain.count_params()
    config = config_of("permuted_digits")
    assert config.adapter.permutation_seed == 0
    config.adapter.permutation_seed = None
    assert config.to_json() == config_of("digits").to_json()


@pytest.mark.parametrize(
    "name, modality", [("seen_digits", "video"), ("heard_digits", "audio")]
)
def test_one_stream_differs_from_both_in_what_it_reads_alone(name, modality):
    one, both = config_of(name), config_of("seen_and_heard_digits")
    assert one.modality == modality
    for section in (one.adapter, one.data.recipe, one.data.augmentation):
        assert len(section)
    assert one.adapter.to_json() == both.adapter[modality].to_json()
    # Pictures alone are tested by as many clips as with sounds, whole sounds by one.
    clips = one.data.recipe.num_eval_clips
    assert clips == (both.data.recipe.num_eval_clips if modality == "video" else 1)
    del one.data.recipe.num_eval_clips
    for name in ("recipe", "augmentation"):
        assert one.data[name].to_json() == both.data[name][modality].to_json()
        one.data[name] = both.data[name]
    one.modality, one.adapter = both.modality, both.adapter
    assert one.to_json() == both.to_json()
