"""From a recipe and a config to the adapter that reads what the recipe makes."""

import math

import keras

import keras_perceiver as kp
from pipelines.checks import check_integer, check_range


def build_adapter(recipe, settings):
    """Builds the input adapter of a model.

    Args:
        recipe: `Recipe` of any modality.
        settings: the section `adapter` of a config.

    Returns:
        An adapter of `kp.inputs`.
    """
    return _BUILDERS[recipe.modality](recipe, **settings)


def input_shape(recipe):
    """The shape of an example that a recipe makes, or a dict of them by modality."""
    if recipe.modality == "audio_video":
        return {name: input_shape(getattr(recipe, name)) for name in ("audio", "video")}
    if recipe.modality == "audio":
        if recipe.representation == "wave":
            return (recipe.num_samples,)
        return (recipe.num_frames, recipe.num_mel_bins)
    if recipe.modality == "image":
        return (*recipe.image_size, recipe.channels)
    if recipe.modality == "points":
        return (recipe.num_points, 3 + recipe.num_features)
    if recipe.modality == "text":
        return (recipe.length,)
    return (recipe.num_frames, *recipe.image_size, recipe.channels)


def _audio(
    recipe,
    num_bands,
    projection_dim,
    segment_length=None,
    patch_size=None,
    flatten=False,
):
    if recipe.representation == "wave":
        shape = input_shape(recipe)
        grid = _patch_grid(shape, (segment_length,), "segment_length")
        return kp.inputs.AudioInput(
            shape,
            kp.FourierPositions(num_bands, max_resolution=grid),
            segment_length=segment_length,
            projection_dim=projection_dim,
        )
    shape = input_shape(recipe)
    patch_size = _whole_patch(patch_size, shape)
    grid = _patch_grid(shape, patch_size)
    return kp.inputs.SpectrogramInput(
        shape,
        kp.FourierPositions(num_bands, math.prod(grid) if flatten else grid),
        flatten=flatten,
        patch_size=patch_size,
        projection_dim=projection_dim,
    )


def _audio_video(recipe, audio, video, min_padding, modality_dropout):
    return kp.inputs.MultimodalInput(
        {
            "audio": _audio(recipe.audio, **audio),
            "video": _video(recipe.video, **video),
        },
        min_padding=min_padding,
        modality_dropout=dict(modality_dropout),
    )


def _image(
    recipe,
    num_bands,
    position_dim=None,
    position_stddev=None,
    patch_size=None,
    projection_dim=None,
    conv_features=None,
    permutation_seed=None,
):
    shape = input_shape(recipe)
    given = {
        "patch_size or projection_dim": (patch_size, projection_dim) != (None, None),
        "conv_features": conv_features is not None,
        "permutation_seed": permutation_seed is not None,
    }
    if sum(given.values()) > 1:
        names = " and ".join(name for name, is_given in given.items() if is_given)
        raise ValueError(
            "Pixels can be in patches or projected, or after a convolution, or "
            f"permuted. Received: {names}"
        )
    grid = _patch_grid(recipe.image_size, (4, 4) if conv_features else patch_size)
    if position_dim is None:
        positions = kp.FourierPositions(num_bands, max_resolution=grid)
    else:
        positions = _learned(grid, position_dim, position_stddev)
    if conv_features is not None:
        return kp.inputs.ConvImageInput(shape, positions, num_features=conv_features)
    if permutation_seed is not None:
        return kp.inputs.PermutedImageInput(shape, positions, seed=permutation_seed)
    return kp.inputs.ImageInput(
        shape, positions, patch_size=patch_size, projection_dim=projection_dim
    )


def _learned(grid, dim, stddev):
    if stddev is None:
        return kp.LearnedPositions(grid, dim)
    check_range(0, math.inf, position_stddev=stddev)
    initializer = keras.initializers.TruncatedNormal(stddev=stddev)
    return kp.LearnedPositions(grid, dim, initializer)


def _points(recipe, num_bands, max_resolution):
    positions = kp.FourierPositions(num_bands, max_resolution)
    return kp.inputs.PointsInput(
        input_shape(recipe), positions, use_mask=recipe.use_mask
    )


def _text(recipe, embedding_dim, window):
    return kp.inputs.TextInput(
        input_shape(recipe), embedding_dim=embedding_dim, window=window
    )


def _video(recipe, num_bands, max_resolution, patch_size=None, projection_dim=None):
    shape = input_shape(recipe)
    patch_size = _whole_patch(patch_size, shape[:-1])
    grid = max_resolution or _patch_grid(shape[:-1], patch_size)
    return kp.inputs.VideoInput(
        shape,
        kp.FourierPositions(num_bands, max_resolution=grid),
        patch_size=patch_size,
        projection_dim=projection_dim,
    )


def _whole_patch(patch_size, shape):
    """The sizes of a patch, along axes without one that of the grid; or `None`."""
    if patch_size is None:
        return None
    if len(patch_size) != len(shape):
        raise ValueError(
            f"`patch_size` must have one size for each of the {len(shape)} axes of the "
            f"grid. Received: patch_size={patch_size}"
        )
    return tuple(n if p is None else p for p, n in zip(patch_size, shape, strict=True))


def _patch_grid(shape, patch_size, name="patch_size"):
    """How many patches there are along each axis, the last one filled up."""
    patch_size = patch_size or (1,) * len(shape)
    for size in patch_size:
        check_integer(name, size, 1)
    return tuple(-(-n // p) for n, p in zip(shape, patch_size, strict=True))


_BUILDERS = {
    "audio": _audio,
    "audio_video": _audio_video,
    "image": _image,
    "points": _points,
    "text": _text,
    "video": _video,
}
