"""Dropout of attention weights, whatever order and part of them is computed."""

import keras
from keras import ops

from keras_perceiver.serialization import serializable
from keras_perceiver.validation import check_rate


@serializable
class WeightDropout(keras.layers.Layer):
    """Decides for each weight by a hash of its place, so that it needs no memory.

    A weight of example b, query n, head h and input m is dropped by a hash of those
    four numbers and of the step's seed. Any chunk of the weights, forward or backward,
    can thus be computed alone, and every way to compute an attention drops the same.

    Args:
        rate: float in [0, 1). The weights that are kept are divided by `1 - rate`.
        seed: int or `None`.
        **kwargs: `keras.layers.Layer` arguments.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        check_rate(rate=rate)
        self.rate = rate
        self.seed = seed
        if rate > 0:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, weights_shape=None):
        """No variables but the seed."""

    def keep(self, num_queries, num_heads, num_inputs, dtype, training):
        """What a step multiplies its weights with.

        Args:
            num_queries: int or scalar tensor, N.
            num_heads: int, H.
            num_inputs: int or scalar tensor, M.
            dtype: string, that of the weights.
            training: bool or `None`.

        Returns:
            `None` where nothing is dropped, else a function of the first example, the
            first query, and the numbers of both, which gives a tensor
            `(examples, queries, H, M)`.
        """
        if not training or not self.rate:
            return None
        step = ops.cast(self.seed_generator.next(), "uint32")
        threshold = ops.cast(int(self.rate * 2**32), "uint32")

        def part(example, query, examples, queries):
            example = _counting(example, examples)[:, None, None]
            query = _counting(query, queries)[None, :, None]
            head = _counting(0, num_heads)[None, None, :]
            row = _hash(example + _hash(step[0]))
            row = _hash(_hash(row + query) + head + step[1])
            place = _hash(row[..., None] + _counting(0, num_inputs))
            kept = ops.cast(place >= threshold, dtype)
            return kept / (1.0 - self.rate)

        return part

    def call(self, weights, training=None):
        """Drops from all the weights, `(B, H, N, M)`."""
        batch, heads, queries, inputs = ops.shape(weights)
        keep = self.keep(queries, heads, inputs, weights.dtype, training)
        if keep is None:
            return weights
        return weights * ops.transpose(keep(0, 0, batch, queries), (0, 2, 1, 3))

    def compute_output_shape(self, weights_shape):
        return weights_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


def _counting(start, count):
    return ops.cast(ops.arange(count, dtype="int32") + start, "uint32")


def _hash(x):
    """Mixes the bits of unsigned 32-bit integers (the finalizer of MurmurHash3)."""
    x = _lowest_32_bits(x)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = ops.bitwise_xor(x, ops.right_shift(x, ops.cast(shift, "uint32")))
        x = _lowest_32_bits(x * ops.cast(factor, "uint32"))
    return ops.bitwise_xor(x, ops.right_shift(x, ops.cast(16, "uint32")))


def _lowest_32_bits(x):
    if keras.config.backend() == "torch":
        # Keras has no uint32 there, and takes int64, of which more bits are left.
        return ops.bitwise_and(x, ops.cast(0xFFFFFFFF, "uint32"))
    return x
