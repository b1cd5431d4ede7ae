"""Batches whose examples are mixed in pairs, their labels in the same shares.

MixUp: [Zhang et al., 2018](https://arxiv.org/abs/1710.09412). CutMix:
[Yun et al., 2019](https://arxiv.org/abs/1905.04899). As in the published code of
Perceiver IO, each example has a share of its own, and where both are asked for, MixUp
mixes one half of the batch and CutMix the other.
"""

import numbers

import tensorflow as tf


def check_mixing(recipe, mixup, cutmix):
    """Raises unless a recipe's examples can be mixed as asked.

    Args:
        recipe: `Recipe`.
        mixup, cutmix: as for `mix`.

    Raises:
        ValueError: if a number is out of its range, or the modality has no such thing.
    """
    for name, alpha in (("mixup", mixup), ("cutmix", cutmix)):
        if not isinstance(alpha, numbers.Real) or not 0 <= alpha < float("inf"):
            raise ValueError(
                f"`{name}` must be a non-negative number. Received: {name}={alpha!r}"
            )
        if alpha and name not in recipe.mixing:
            raise ValueError(
                f"`{name}` does not mix data of the modality {recipe.modality!r}. "
                f"Received: {name}={alpha!r}"
            )


def mix(inputs, labels, seed, *, mixup=0.0, cutmix=0.0):
    """Mixes each example of a batch with the one before it.

    Which one that is follows from the order of the batch, which is random.

    Args:
        inputs: float32 tensor (B, ...), or a nest of them for MixUp; (B, ..., H, W, c)
            for CutMix. All sizes are static.
        labels: float32 tensor (B, E).
        seed: integer tensor (2,), from which alone follows what is random.
        mixup: float >= 0. An example keeps a share drawn from Beta(mixup, mixup); 0
            is no MixUp.
        cutmix: float >= 0. A box is taken from the other example, whose part of the
            picture is drawn from Beta(cutmix, cutmix) before it is cut at the edges; 1
            is uniform, 0 is no CutMix.

    Returns:
        Pair of mixed inputs and labels, of the same shapes.
    """
    own = (inputs, labels)
    other = tf.nest.map_structure(lambda x: tf.roll(x, 1, axis=0), own)
    if not cutmix:
        return _mixup(own, other, mixup, seed) if mixup else own
    if not mixup:
        return _cutmix(own, other, cutmix, seed)
    seeds = _split(seed, 2)
    half = labels.shape[0] // 2
    first = _mixup(_part(own, 0, half), _part(other, 0, half), mixup, seeds[0])
    second = _cutmix(_part(own, half), _part(other, half), cutmix, seeds[1])
    return tf.nest.map_structure(lambda *x: tf.concat(x, axis=0), first, second)


def _mixup(own, other, alpha, seed):
    """The pair (inputs, labels) where `own` has its share in everything."""
    share = _beta(alpha, own[1].shape[0], seed)
    return tf.nest.map_structure(lambda x, y: _blend(x, y, share), own, other)


def _cutmix(own, other, alpha, seed):
    """The pair (inputs, labels) where a box of `own` is that of `other`."""
    images, labels = own
    count, *frames, height, width, _ = images.shape
    seeds = _split(seed, 3)
    side = tf.sqrt(1.0 - _beta(alpha, count, seeds[0]))  # A part of each side.
    rows = _within(height, side, seeds[1])
    columns = _within(width, side, seeds[2])
    box = rows[:, :, None] & columns[:, None, :]
    share = 1.0 - tf.reduce_mean(tf.cast(box, tf.float32), axis=(1, 2))
    # All frames of a video have one box.
    box = tf.reshape(box, (count, *[1] * len(frames), height, width, 1))
    return tf.where(box, other[0], images), _blend(labels, other[1], share)


def _within(size, side, seed):
    """Which pixels of an axis are in a box anywhere on it, bool (B, size)."""
    pixels = (tf.range(size, dtype=tf.float32) + 0.5) / size
    centre = tf.random.stateless_uniform((side.shape[0], 1), seed)
    return tf.abs(pixels - centre) < side[:, None] / 2


def _blend(x, y, share):
    share = tf.reshape(share, (-1, *[1] * (x.shape.rank - 1)))
    return share * x + (1.0 - share) * y


def _beta(alpha, count, seed):
    """Draws of Beta(alpha, alpha), float32 (count,), out of two gamma variables."""
    seeds = _split(seed, 2)
    # Gamma(alpha) is Gamma(alpha + 1) times a power of a uniform variable. Both are 0
    # for a small alpha, but their logarithms are not.
    gamma = tf.random.stateless_gamma((2, count), seeds[0], alpha + 1.0)
    uniform = tf.random.stateless_uniform((2, count), seeds[1], minval=1e-7)
    x, y = tf.unstack(tf.math.log(gamma) + tf.math.log(uniform) / alpha)
    return tf.sigmoid(x - y)


def _part(pair, start, stop=None):
    return tf.nest.map_structure(lambda x: x[start:stop], pair)


def _split(seed, count):
    return tf.unstack(tf.random.experimental.stateless_split(seed, count))
