"""The initial weights of the published models."""

import math

import keras

from keras_perceiver.serialization import serializable

# Haiku's `TruncatedNormal(stddev)` and Keras' agree: a normal distribution cut at
# two standard deviations, without a correction of the remaining spread.
POSITION_STDDEV = 0.02


def projection_initializer():
    """Kernels of projections and MLPs: variance scaling over the fan-in.

    Source: DeepMind's `conv_1d`, `VarianceScaling(1.0)`.
    """
    return keras.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")


def array_initializer():
    """Latents, learned positions and learned queries: truncated normal, 0.02."""
    return keras.initializers.TruncatedNormal(stddev=POSITION_STDDEV)


@serializable
class FanInTruncatedNormal(keras.initializers.Initializer):
    """Truncated normal of standard deviation `1 / sqrt(fan_in)`, uncorrected.

    The default of `hk.Linear`, which the published models use for their output
    layers, and of `hk.Conv2D`. Truncation leaves 0.88 of that spread.

    Args:
        seed: int or `None`.
    """

    def __init__(self, seed=None):
        self.seed = seed

    def __call__(self, shape, dtype=None):
        fan_in = math.prod(shape[:-1])  # What one output is a sum of.
        normal = keras.initializers.TruncatedNormal(stddev=fan_in**-0.5, seed=self.seed)
        return normal(shape, dtype=dtype)

    def get_config(self):
        return {"seed": self.seed}


def fresh(initializer):
    """A copy, so that layers that share an initializer do not share its draws."""
    return initializer.__class__.from_config(initializer.get_config())
