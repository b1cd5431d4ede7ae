"""From a recipe and a config to the adapter that reads what the recipe makes."""

import keras_perceiver as kp


def build_adapter(recipe, settings):
    """Builds the input adapter of a model.

    Args:
        recipe: `Recipe` of any modality.
        settings: the section `adapter` of a config.

    Returns:
        An adapter of `kp.inputs`.
    """
    return _BUILDERS[recipe.modality](recipe, **settings)


def _audio(recipe, num_bands, projection_dim, segment_length=None, patch_size=None):
    if recipe.representation == "wave":
        num_segments = -(-recipe.num_samples // segment_length)
        return kp.inputs.AudioInput(
            (recipe.num_samples,),
            kp.FourierPositions(num_bands, max_resolution=(num_segments,)),
            segment_length=segment_length,
            projection_dim=projection_dim,
        )
    shape = (recipe.num_frames, recipe.num_mel_bins)
    grid = tuple(-(-n // p) for n, p in zip(shape, patch_size, strict=True))
    return kp.inputs.SpectrogramInput(
        shape,
        kp.FourierPositions(num_bands, max_resolution=grid),
        patch_size=patch_size,
        projection_dim=projection_dim,
    )


def _image(recipe, num_bands):
    positions = kp.FourierPositions(num_bands, max_resolution=recipe.image_size)
    return kp.inputs.ImageInput((*recipe.image_size, recipe.channels), positions)


def _points(recipe, num_bands, max_resolution):
    positions = kp.FourierPositions(num_bands, max_resolution)
    shape = (recipe.num_points, 3 + recipe.num_features)
    return kp.inputs.PointsInput(shape, positions, use_mask=recipe.use_mask)


def _text(recipe, embedding_dim):
    return kp.inputs.TextInput((recipe.length,), embedding_dim=embedding_dim)


def _video(recipe, num_bands, max_resolution, patch_size):
    pixels = (recipe.num_frames, *recipe.image_size)
    patches = patch_size or (1, 1, 1)
    grid = tuple(-(-n // p) for n, p in zip(pixels, patches, strict=True))
    positions = kp.FourierPositions(num_bands, max_resolution=max_resolution or grid)
    return kp.inputs.VideoInput(
        (*pixels, recipe.channels), positions, patch_size=patch_size
    )


_BUILDERS = {
    "audio": _audio,
    "image": _image,
    "points": _points,
    "text": _text,
    "video": _video,
}
