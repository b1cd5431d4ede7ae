"""A trained model, the recipe of its inputs and the names of its classes."""

import argparse
import json
import os
import pathlib
import sys
import warnings
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_perceiver as kp
from pipelines.recipe import Recipe
from pipelines.recipes import load_recipe


class Trained(NamedTuple):
    """What a run leaves behind.

    Attributes:
        model: `kp.PerceiverClassifier`.
        recipe: `Recipe`, which makes the model's inputs.
        classes: list of str.
        config: dict, the config of the run; empty where it is not there.
    """

    model: kp.PerceiverClassifier
    recipe: Recipe
    classes: list[str]
    config: dict


def load_trained(path):
    """Loads what `scripts/train.py` has written.

    Args:
        path: the folder of a run, or its `model` folder.

    Returns:
        `Trained`.

    Raises:
        ValueError: where the folder holds no trained model.
    """
    path = pathlib.Path(path)
    folder = path / "model" if (path / "model").is_dir() else path
    if not (folder / "pipeline.json").is_file():
        raise ValueError(
            "`--model` must be the folder of a finished run, or its `model` folder. "
            f"Received: --model={path}"
        )
    recipe, classes = load_recipe(folder / "pipeline.json")
    config_file = folder.parent / "config.json"
    config = json.loads(config_file.read_text()) if config_file.is_file() else {}
    return Trained(kp.PerceiverClassifier.from_preset(folder), recipe, classes, config)


def probabilities(model, inputs):
    """Class probabilities of a batch, float32 `(B, classes)`.

    They add up to 1, unless the model is multi-label: then each class has its own.
    """
    logits = model(inputs, training=False)
    normalize = keras.ops.sigmoid if model.multi_label else keras.ops.softmax
    return keras.ops.convert_to_numpy(normalize(logits)).astype(np.float32)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are a sentence and exit status 2, as all others here."""

    def error(self, message):
        print(f"error: {message[:1].upper()}{message[1:]}", file=sys.stderr)
        raise SystemExit(2)


def run(main):
    """Runs a script; foreseen errors end it with their sentence alone.

    The environment variable `KERAS_PERCEIVER_TRACEBACK=1` shows where they come from.
    """
    # Warnings of libraries belong to no user of a script; those of the pipelines do.
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        raise SystemExit(main())
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("KERAS_PERCEIVER_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
