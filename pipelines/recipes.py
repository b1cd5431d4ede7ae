"""The recipe of each modality."""

import importlib
import json
import pathlib

from pipelines.checks import check_choice

# Imported when asked for: a modality may need packages that others do not.
_RECIPES = {
    "audio": ("pipelines.audio", "AudioRecipe"),
    "audio_video": ("pipelines.audio_video", "AudioVideoRecipe"),
    "image": ("pipelines.image", "ImageRecipe"),
    "points": ("pipelines.points", "PointsRecipe"),
    "text": ("pipelines.text", "TextRecipe"),
    "video": ("pipelines.video", "VideoRecipe"),
}


def find_recipe(modality):
    """The `Recipe` class of a modality.

    Raises:
        ValueError: if no recipe has this modality.
        ImportError: if a package that it needs is not installed.
    """
    check_choice("modality", modality, tuple(_RECIPES))
    module, name = _RECIPES[modality]
    return getattr(importlib.import_module(module), name)


def save_recipe(recipe, classes, file):
    """Writes a recipe beside a model, with the names of the model's classes.

    Args:
        recipe: `Recipe`.
        classes: sequence of str.
        file: path of a JSON file.
    """
    config = {**recipe.get_config(), "classes": list(classes)}
    pathlib.Path(file).write_text(json.dumps(config, indent=2) + "\n")


def load_recipe(file):
    """Reads what `save_recipe` wrote.

    Args:
        file: path of a JSON file.

    Returns:
        Pair of a `Recipe` and the list of the names of the classes.

    Raises:
        ValueError: if the file holds no recipe.
    """
    try:
        config = json.loads(pathlib.Path(file).read_text())
        classes, modality = config.pop("classes"), config.pop("modality")
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(
            "`file` must be a JSON file that `save_recipe` wrote "
            f"({type(error).__name__}: {error}). Received: file={str(file)!r}"
        ) from None
    return find_recipe(modality)(**config), classes
