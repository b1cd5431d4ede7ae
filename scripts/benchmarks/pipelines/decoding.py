"""Decoding and cropping of images: our pipeline beside Keras' own."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks.pipelines import files
from benchmarks.pipelines.throughput import read
from pipelines import image_ops
from pipelines.dataset import train_batches
from pipelines.image import ImageRecipe
from pipelines.sources.source import source_from_columns

SIZE = (64, 64)
CHANNELS = 3
BATCH_SIZE = 64
# Mean and largest difference of the two results, in levels of 255. Ours rounds after it
# has resized, half a level; Keras takes a fast approximation where a JPEG is decoded.
TOLERANCE = {"mean": 1.5, "largest": 12.0}


@dataclasses.dataclass(frozen=True)
class Fit:
    """A way to bring an image to its size.

    Attributes:
        crop: string, a field of `ImageRecipe`.
        steps: function of the recipe to its steps.
        after_keras: function of a size to the step that does the same to a decoded
            image.
    """

    crop: str
    steps: Callable
    after_keras: Callable


FITS = {
    "whole image": Fit(
        "resize", lambda recipe: recipe.training_ops()[1], image_ops.resize
    ),
    "random box": Fit(
        "inception", lambda recipe: recipe.training_ops()[1], image_ops.inception_crop
    ),
    "middle": Fit(
        "inception",
        lambda recipe: recipe.evaluation_ops(),
        image_ops.resize_small_then_center_crop,
    ),
}
FORMATS = {"JPEG": files.write_jpegs, "PNG": files.write_pngs}


def make_datasets(folder, fit, batch_size):
    """Both pipelines, of the same batches: in the order of the files, without end.

    Args:
        folder: `pathlib.Path` of class folders of images of `files.IMAGE_SIZE`.
        fit: `Fit`.
        batch_size: int.

    Returns:
        Dict name -> `tf.data.Dataset` of pairs (images, labels).
    """
    decoded = keras.utils.image_dataset_from_directory(
        folder,
        image_size=(files.IMAGE_SIZE, files.IMAGE_SIZE),
        # Image by image: batches of whole images were slower to cut and resize.
        batch_size=None,
        shuffle=False,
        verbose=False,
    )
    classes = decoded.class_names
    source = source_from_columns(
        {"path": decoded.file_paths},
        [classes.index(pathlib.Path(p).parent.name) for p in decoded.file_paths],
        classes=classes,
        name=f"folder:{folder}",
    )
    recipe = ImageRecipe(image_size=SIZE, channels=CHANNELS, crop=fit.crop)

    def ours(ops, batch_size):
        # With a buffer of one, examples keep their order.
        return train_batches(
            source, batch_size=batch_size, ops=ops, seed=0, shuffle_buffer=1
        )

    # The seeds of our first epoch, so that both cut out the same boxes.
    seeds, _ = next(iter(ours([_seed_as_image], source.num_items)))
    after_keras = fit.after_keras(SIZE)

    def crop(pair, seed):
        image, label = pair
        image = after_keras({"image": image, "seed": seed})["image"]
        return image / 127.5 - 1, label

    theirs = (
        tf.data.Dataset.zip(decoded, tf.data.Dataset.from_tensor_slices(seeds))
        .repeat()
        .map(crop, tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )
    return {"ours": ours(fit.steps(recipe), batch_size), "keras": theirs}


def differences(datasets):
    """How the first batches of both differ, in levels of 255.

    Args:
        datasets: as of `make_datasets`.

    Returns:
        Dict with "mean" and "largest".

    Raises:
        ValueError: if they do not make the same images within `TOLERANCE`, or not of
            the same labels.
    """
    (ours, labels), (theirs, their_labels) = (
        next(iter(datasets[name])) for name in ("ours", "keras")
    )
    levels = 127.5 * np.abs(ours.numpy() - theirs.numpy())
    found = {"mean": float(levels.mean()), "largest": float(levels.max())}
    same_labels = np.array_equal(labels, their_labels)
    if not same_labels or any(found[key] > TOLERANCE[key] for key in TOLERANCE):
        raise ValueError(
            "Both pipelines must make the same images of the same labels. Received: "
            f"{'the same' if same_labels else 'other'} labels, and images that differ "
            f"by {found['mean']:.2f} levels in the mean, {found['largest']:.0f} at most"
        )
    return found


def make_starts(datasets):
    """Dict name -> function that starts reading, for `measure_rates`."""
    return {
        name: functools.partial(read, dataset) for name, dataset in datasets.items()
    }


def _seed_as_image(example):
    return {**example, "image": example["seed"]}
