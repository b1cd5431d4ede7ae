"""The image recipe: from a source of images to batches for a model."""

import numbers
import os

import numpy as np
import tensorflow as tf

from pipelines.checks import check_choice, check_integer
from pipelines.dataset import eval_batches, steps_per_epoch, train_batches
from pipelines.image_errors import describe_failure, readable_errors
from pipelines.image_ops import (
    decode_image,
    flip_left_right,
    inception_crop,
    resize,
    resize_small_then_center_crop,
    scale,
    shift,
)
from pipelines.sources.arrays import check_image_array

__all__ = [
    "CROPS",
    "eval_dataset",
    "find_image_shape",
    "preprocess",
    "readable_errors",
    "steps_per_epoch",
    "train_dataset",
]

CROPS = ("resize", "inception")
DEFAULT_SIZE = (64, 64)
LARGEST_KEPT_SIDE = 96


def train_dataset(
    source,
    *,
    image_size,
    channels,
    batch_size,
    seed,
    crop="resize",
    shift_pixels=0,
    flip=False,
    value_range=(-1, 1),
    start_epoch=0,
    cache=False,
):
    """Augmented training batches without end, `steps_per_epoch` in each epoch.

    Args:
        source: `Source` of images.
        image_size: (height, width) of the batches.
        channels: 1 or 3.
        batch_size: int, the number of images in a batch.
        seed: int in [0, 2**32), for the order and the augmentation.
        crop: "resize" for the whole image, or "inception" for random boxes.
        shift_pixels: int, how far images move at random; what enters is black.
        flip: bool, whether half of the images are mirrored.
        value_range: (low, high), what black and white become.
        start_epoch: int, the epoch to begin with.
        cache: bool, whether the decoded images (resized, with "resize") stay in
            memory after the first epoch.

    Returns:
        `tf.data.Dataset` of pairs (image, label): float32 of shape
        (batch_size, height, width, channels) and int32 of shape (batch_size,).

    Raises:
        ValueError: if an argument is out of its range.
    """
    _check_recipe(image_size, channels, crop, value_range)
    check_integer("shift_pixels", shift_pixels, 0)
    if shift_pixels >= min(image_size):
        raise ValueError(
            f"`shift_pixels` must be less than both sides of the image, {image_size}. "
            f"Received: shift_pixels={shift_pixels!r}"
        )
    if crop == "resize":
        ops = [decode_image(channels), resize(image_size)]
        cached_ops = ops
    else:
        ops = [inception_crop(image_size, channels)]
        cached_ops = [decode_image(channels)]
    augmentation = [
        *([shift(shift_pixels)] if shift_pixels else []),
        *([flip_left_right()] if flip else []),
        scale(*value_range),
    ]
    if not cache:
        cached_ops = []
    elif crop == "resize":
        ops = []
    return train_batches(
        source,
        batch_size=batch_size,
        ops=[*ops, *augmentation],
        seed=seed,
        start_epoch=start_epoch,
        cached_ops=cached_ops,
    )


def eval_dataset(
    source, *, image_size, channels, batch_size, crop="resize", value_range=(-1, 1)
):
    """Each image once, in the order of the source, without augmentation.

    Args:
        source: `Source` of images.
        image_size: (height, width) of the batches.
        channels: 1 or 3.
        batch_size: int, the number of images in a batch.
        crop: as in training: "resize" for the whole image; with "inception" the
            middle is evaluated.
        value_range: (low, high), what black and white become.

    Returns:
        `tf.data.Dataset` of pairs (image, label): float32 of shape
        (n, height, width, channels) and int32 of shape (n,), n <= `batch_size`.

    Raises:
        ValueError: if an argument is out of its range.
    """
    ops = _eval_ops(image_size, channels, crop, value_range)
    return eval_batches(source, batch_size=batch_size, ops=ops)


def preprocess(images, *, image_size, channels, crop="resize", value_range=(-1, 1)):
    """Takes pictures through the very steps of `eval_dataset`.

    Args:
        images: sequence of paths (str, bytes or path-like) and arrays of shape
            (H, W) or (H, W, channels), uint8 or float in [0, 1], of any sizes; one
            array of shape (N, H, W, channels) is such a sequence as well.
        image_size: (height, width) of the batch.
        channels: 1 or 3.
        crop: "resize" or "inception", as in training.
        value_range: (low, high), what black and white become.

    Returns:
        float32 array of shape (N, height, width, channels).

    Raises:
        ValueError: if an argument is out of its range, or an image cannot be
            decoded.
    """
    if isinstance(images, str | bytes | os.PathLike):
        raise ValueError(
            f"`images` must be a sequence of paths or arrays. Received: {images!r}"
        )
    if not len(images):
        raise ValueError("`images` must not be empty. Received: 0 images")
    if isinstance(images, np.ndarray) and images.ndim == 3 and images.shape[-1] <= 4:
        raise ValueError(
            "`images` must be a sequence; pass a single image as image[None]. "
            f"Received: shape={images.shape}"
        )
    ops = _eval_ops(image_size, channels, crop, value_range)
    with tf.device("CPU"):  # Where `tf.data` works, for the very same numbers.
        return np.stack([_preprocess_one(image, ops) for image in images])


def find_image_shape(source, num_images=64):
    """Chooses the shape of the batches from the first images of a source.

    Args:
        source: `Source` of images.
        num_images: int, how many images to look at.

    Returns:
        (height, width, channels): the size that the images share where it is at most
        96 a side, else 64x64; one channel if all of them are grey, else three.

    Raises:
        ValueError: if one of these images cannot be decoded.
    """
    decode = decode_image()
    shapes = source.dataset.take(num_images).map(
        lambda example: tf.shape(decode(example)["image"])
    )
    with readable_errors(source):
        shapes = np.array(list(shapes.as_numpy_iterator()))
    sizes = np.unique(shapes[:, :2], axis=0)
    keeps_size = len(sizes) == 1 and sizes.max() <= LARGEST_KEPT_SIDE
    height, width = sizes[0].tolist() if keeps_size else DEFAULT_SIZE
    # Files have 1 or 2 channels, without or with transparency, when grey.
    return height, width, 1 if shapes[:, 2].max() < 3 else 3


def _eval_ops(image_size, channels, crop, value_range):
    _check_recipe(image_size, channels, crop, value_range)
    fit = resize if crop == "resize" else resize_small_then_center_crop
    return [decode_image(channels), fit(image_size), scale(*value_range)]


def _preprocess_one(image, ops):
    if isinstance(image, str | bytes | os.PathLike):
        example = {"path": tf.constant(os.fsencode(image))}
    else:
        example = {"image": tf.constant(check_image_array(image, rank=3))}
    try:
        for op in ops:
            example = op(example)
    except tf.errors.OpError as error:
        if "path" not in example:
            raise
        raise ValueError(describe_failure(error, example["path"])) from None
    return example["image"].numpy()


def _check_recipe(image_size, channels, crop, value_range):
    if not isinstance(image_size, tuple | list) or len(image_size) != 2:
        raise ValueError(
            "`image_size` must be a pair (height, width). "
            f"Received: image_size={image_size!r}"
        )
    for side in image_size:
        check_integer("image_size", side, 1)
    check_choice("channels", channels, (1, 3))
    check_choice("crop", crop, CROPS)
    is_pair = (
        isinstance(value_range, tuple | list)
        and len(value_range) == 2
        and all(isinstance(value, numbers.Real) for value in value_range)
    )
    if not is_pair or not -np.inf < value_range[0] < value_range[1] < np.inf:
        raise ValueError(
            "`value_range` must be a pair of finite numbers (low, high), low < high. "
            f"Received: value_range={value_range!r}"
        )
