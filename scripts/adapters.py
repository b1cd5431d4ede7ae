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


def _image(recipe, num_bands):
    positions = kp.FourierPositions(num_bands, max_resolution=recipe.image_size)
    return kp.inputs.ImageInput((*recipe.image_size, recipe.channels), positions)


def _video(recipe, num_bands, max_resolution):
    grid = (recipe.num_frames, *recipe.image_size)
    positions = kp.FourierPositions(num_bands, max_resolution=max_resolution or grid)
    return kp.inputs.GridInput((*grid, recipe.channels), positions)


_BUILDERS = {
    "image": _image,
    "video": _video,
}
