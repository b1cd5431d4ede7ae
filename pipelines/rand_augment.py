"""RandAugment: a few of sixteen operations in a row, drawn anew for each image.

The operations, and how a magnitude becomes their strengths, are those of EfficientNet's
published code, with which DeepMind trained its Perceivers on ImageNet: four layers of
magnitude 5. At this magnitude the factor of `color`, `contrast`, `brightness` and
`sharpness` is 1, so these four leave an image as it is.

`keras.layers.RandAugment` (3.15) is not this: it has no invert, cutout and
solarize-add, draws a strength of its own for each operation, computes all of them to
keep one, and takes its draws from the state of a generator, whatever seed it is given,
so that no run could resume to the same images.

Images are (H, W, 1 | 3), uint8 of values 0..255. What PIL has, too, is as PIL has it.

References:
    Cubuk et al., 2019, "RandAugment", https://arxiv.org/abs/1909.13719.
    `autoaugment.py` of EfficientNet and of DeepMind's Perceiver.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from pipelines.seeds import op_seed

STRONGEST_MAGNITUDE = 30  # The largest that was published.
_FILL = 128
# Lengths are published in pixels of ImageNet, and scaled to the image here.
_PUBLISHED_SIDE = 224


def rand_augment(num_layers=4, magnitude=5):
    """Makes the step that applies random operations to the image.

    Args:
        num_layers: int, how many operations, one after the other.
        magnitude: float in [0, 30], how strong they are.

    Returns:
        Function from example to example with a uint8 image.
    """

    def apply(example):
        image = tf.image.convert_image_dtype(example["image"], tf.uint8, saturate=True)
        seeds = [
            op_seed(example, f"rand_augment.{layer}") for layer in range(num_layers)
        ]
        # A loop of the graph, which would be slow to build with all layers.
        image = tf.foldl(
            lambda image, seed: _apply_one(image, magnitude / 10, seed),
            tf.stack(seeds),
            initializer=image,
        )
        return {**example, "image": image}

    return apply


class _Draw(NamedTuple):
    """What else is drawn for an operation: 1.0 or -1.0, and a place in [0, 1)^2."""

    sign: tf.Tensor
    place: tf.Tensor


def _apply_one(image, level, seed):
    draws = tf.random.stateless_uniform((4,), seed)
    draw = _Draw(tf.where(draws[0] < 0.5, -1.0, 1.0), draws[1:3])
    operations = _operations(level, tf.reduce_min(tf.shape(image)[:2]))
    # Only the chosen one is computed.
    changed = tf.switch_case(
        tf.cast(draws[3] * len(operations), tf.int32),
        [
            lambda operation=operation: operation(image, draw)
            for operation in operations
        ],
    )
    return tf.ensure_shape(changed, image.shape)


def _operations(level, side):
    """The sixteen operations, functions of an image and a draw.

    Args:
        level: float, the magnitude over 10.
        side: int32 scalar, the shorter side of the image.
    """
    factor = 0.1 + 1.8 * level
    unit = tf.cast(side, tf.float32) / _PUBLISHED_SIDE
    slope, far = 0.3 * level, 100 * level * unit
    return [
        lambda image, _: autocontrast(image),
        lambda image, _: equalize(image),
        lambda image, _: invert(image),
        lambda image, draw: rotate(image, 30 * level * draw.sign),
        lambda image, _: posterize(image, min(8, int(4 * level))),
        lambda image, _: solarize(image, int(256 * level)),
        lambda image, _: solarize_add(image, int(110 * level)),
        lambda image, _: color(image, factor),
        lambda image, _: contrast(image, factor),
        lambda image, _: brightness(image, factor),
        lambda image, _: sharpness(image, factor),
        lambda image, draw: shear_x(image, slope * draw.sign),
        lambda image, draw: shear_y(image, slope * draw.sign),
        lambda image, draw: translate_x(image, far * draw.sign),
        lambda image, draw: translate_y(image, far * draw.sign),
        lambda image, draw: cutout(
            image, draw.place, tf.cast(40 * level * unit, tf.int32)
        ),
    ]


def autocontrast(image):
    """Stretches each channel to 0..255; a channel of one value stays."""
    pixels = tf.cast(image, tf.float32)
    low = tf.reduce_min(pixels, axis=(0, 1))
    high = tf.reduce_max(pixels, axis=(0, 1))
    stretch = 255 / tf.maximum(high - low, 1)
    return tf.where(high > low, _as_uint8((pixels - low) * stretch), image)


def equalize(image):
    """Makes all values of each channel about equally frequent."""
    channels = tf.unstack(tf.cast(image, tf.int32), axis=-1)
    return tf.stack([_equalize_channel(channel) for channel in channels], axis=-1)


def _equalize_channel(channel):
    counts = tf.math.bincount(tf.reshape(channel, (-1,)), minlength=256, maxlength=256)
    last = counts[tf.reduce_max(channel)]
    step = (tf.size(channel) - last) // 255
    below = tf.cumsum(counts, exclusive=True)
    table = (below + step // 2) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.minimum(table, 255), tf.range(256))
    return tf.gather(tf.cast(table, tf.uint8), channel)


def invert(image):
    """Turns black to white and white to black."""
    return 255 - image


def posterize(image, bits):
    """Keeps the highest of the 8 bits of each value."""
    return tf.bitwise.bitwise_and(image, 256 - 2 ** (8 - bits))


def solarize(image, threshold):
    """Inverts what is not below a threshold."""
    return tf.where(tf.cast(image, tf.int32) < threshold, image, 255 - image)


def solarize_add(image, addition):
    """Adds to what is below 128."""
    added = tf.minimum(tf.cast(image, tf.int32) + addition, 255)
    return tf.where(image < 128, tf.cast(added, tf.uint8), image)


def color(image, factor):
    """Blends the image with itself in grey: 0 is grey, 1 the image."""
    if image.shape[-1] == 1:
        return image
    return _blend(tf.image.rgb_to_grayscale(image), image, factor)


def contrast(image, factor):
    """Blends the image with its mean grey: 0 is grey, 1 the image."""
    # The published code takes the number of pixels over 256 for the mean.
    grey = image if image.shape[-1] == 1 else tf.image.rgb_to_grayscale(image)
    mean = tf.round(tf.reduce_mean(tf.cast(grey, tf.float32)))
    return _blend(mean, image, factor)


def brightness(image, factor):
    """Blends the image with black: 0 is black, 1 the image."""
    return _blend(0.0, image, factor)


def sharpness(image, factor):
    """Blends the image with a smooth one: 0 is smooth, 1 the image."""
    pixels = tf.cast(image, tf.float32)
    weights = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32) / 13
    kernel = tf.tile(weights[:, :, None, None], (1, 1, image.shape[-1], 1))
    smooth = tf.nn.depthwise_conv2d(pixels[None], kernel, (1, 1, 1, 1), "SAME")[0]
    # What has no neighbours on all sides stays.
    rows, columns = (_is_inside(tf.shape(image)[axis]) for axis in (0, 1))
    inside = (rows[:, None] & columns)[..., None]
    smooth = tf.where(inside, tf.round(smooth), pixels)
    return _blend(smooth, image, factor)


def _is_inside(count):
    places = tf.range(count)
    return (places > 0) & (places < count - 1)


def rotate(image, degrees):
    """Turns the image around its centre."""
    angle = degrees * (math.pi / 180)
    cos, sin = tf.cos(angle), tf.sin(angle)
    centre = (tf.cast(tf.shape(image)[:2], tf.float32) - 1) / 2
    y, x = centre[0], centre[1]
    return _transform(
        image, [cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]
    )


def shear_x(image, slope):
    """Moves each row to the left by a part of its distance from the first."""
    return _transform(image, [1, slope, 0], [0, 1, 0])


def shear_y(image, slope):
    """Moves each column up by a part of its distance from the first."""
    return _transform(image, [1, 0, 0], [slope, 1, 0])


def translate_x(image, pixels):
    """Moves the image to the left."""
    return _transform(image, [1, 0, pixels], [0, 1, 0])


def translate_y(image, pixels):
    """Moves the image up."""
    return _transform(image, [1, 0, 0], [0, 1, pixels])


def cutout(image, place, half_side):
    """Paints a square grey.

    Args:
        image: uint8 tensor (H, W, channels).
        place: float32 tensor (2,) in [0, 1), the centre of the square in the height
            and the width of the image.
        half_side: int32 scalar, pixels.
    """
    size = tf.shape(image)[:2]
    centre = tf.cast(place * tf.cast(size, tf.float32), tf.int32)
    rows, columns = (
        _is_near(tf.range(size[axis]), centre[axis], half_side) for axis in (0, 1)
    )
    inside = (rows[:, None] & columns)[..., None]
    return tf.where(inside, tf.constant(_FILL, tf.uint8), image)


def _is_near(places, centre, half_side):
    return (places >= centre - half_side) & (places < centre + half_side)


def _transform(image, x_from, y_from):
    """Takes each pixel from the nearest to where two rows (x, y, 1) say it was."""
    matrix = tf.stack(
        [tf.cast(value, tf.float32) for value in (*x_from, *y_from, 0, 0)]
    )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=matrix[None],
        output_shape=tf.shape(image)[:2],
        fill_value=float(_FILL),
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )[0]


def _blend(other, image, factor):
    """From `other` at 0 over the image at 1 on, away from `other`."""
    other = tf.cast(other, tf.float32)
    return _as_uint8(other + factor * (tf.cast(image, tf.float32) - other))


def _as_uint8(pixels):
    return tf.cast(tf.clip_by_value(pixels, 0, 255), tf.uint8)
