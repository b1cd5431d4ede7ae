"""The optimizer that Perceivers are published with, and warm-up for any schedule."""

import keras
from keras import ops

from keras_perceiver.serialization import serializable
from keras_perceiver.validation import check_positive

# By the names of Keras: biases, and the scales and offsets of normalizations.
UNDECAYED = ("bias", "gamma", "beta")


@serializable
class Lamb(keras.optimizers.Optimizer):
    """LAMB as published, with weight decay inside the trust ratio.

    The step of a variable w, at a learning rate r, with the gradients' moments m and v
    as in Adam:

        u = m / (sqrt(v) + epsilon) + weight_decay * w
        w <- w - r * u * |w| / |u|

    where `|w|` or `|u|` is 0, the ratio is 1. Biases have a ratio as all other
    variables do. Gradients are clipped, if at all, before their moments are taken.

    `keras.optimizers.Lamb` computes the ratio without the weight decay, which it takes
    off the weights apart, at the learning rate, and off biases as well.

    Args:
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`.
        beta_1: float in [0, 1), decay of the first moment.
        beta_2: float in [0, 1), decay of the second moment.
        epsilon: float, added to the root of the second moment.
        weight_decay: float or `None`.
        undecayed: sequence of strings, the names (of `keras.Variable`) of what is
            left out of weight decay. By default biases, and the scales and offsets of
            normalizations; latents, embeddings and positions are decayed.
        **kwargs: `keras.optimizers.Optimizer` arguments, such as `global_clipnorm`.

    References:
    - [You et al., 2020](https://arxiv.org/abs/1904.00962), algorithm 2.
    - [Jaegle et al., 2022](https://arxiv.org/abs/2107.14795), appendix A.1, and the
      training code that was published with it.
    """

    def __init__(
        self,
        learning_rate=1e-3,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        weight_decay=None,
        undecayed=UNDECAYED,
        **kwargs,
    ):
        super().__init__(learning_rate, weight_decay=weight_decay, **kwargs)
        if isinstance(undecayed, str):
            raise ValueError(
                "`undecayed` must be a sequence of names. "
                f"Received: undecayed={undecayed!r}"
            )
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.undecayed = tuple(undecayed)

    def build(self, variables):
        """Creates the moments of all variables."""
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(
            variables, ["momentum", "velocity"]
        )
        # A step may be given backend variables, which have other names.
        self._is_decayed = [v.name not in self.undecayed for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        """Updates a variable and its moments."""
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        gradient = ops.cast(gradient, dtype)
        step = ops.cast(self.iterations + 1, dtype)
        first_bias = 1 - ops.power(ops.convert_to_tensor(self.beta_1, dtype), step)
        second_bias = 1 - ops.power(ops.convert_to_tensor(self.beta_2, dtype), step)

        self.assign_add(
            momentum, ops.multiply(ops.subtract(gradient, momentum), 1 - self.beta_1)
        )
        self.assign_add(
            velocity,
            ops.multiply(ops.subtract(ops.square(gradient), velocity), 1 - self.beta_2),
        )
        update = ops.divide(
            ops.divide(momentum, first_bias),
            ops.sqrt(ops.divide(velocity, second_bias)) + self.epsilon,
        )
        if self.weight_decay and self._is_decayed[index]:
            update += ops.multiply(variable, self.weight_decay)

        norm = ops.sqrt(ops.sum(ops.square(variable)))
        update_norm = ops.sqrt(ops.sum(ops.square(update)))
        is_defined = ops.logical_and(norm > 0, update_norm > 0)
        ratio = ops.where(is_defined, norm / update_norm, ops.ones_like(norm))
        self.assign_sub(variable, ops.cast(learning_rate, dtype) * ratio * update)

    def _apply_weight_decay(self, variables):
        """Nothing: Keras would decay here what `update_step` decays."""

    def get_config(self):
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "undecayed": list(self.undecayed),
        }


@serializable
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule whose first steps rise from 0, in a straight line.

    What comes after them is as it is without them: no step is put off.

    Args:
        schedule: `keras.optimizers.schedules.LearningRateSchedule`.
        warmup_steps: int. The first step that the schedule has alone.
    """

    def __init__(self, schedule, warmup_steps):
        super().__init__()
        check_positive(warmup_steps=warmup_steps)
        self.schedule = schedule
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        rate = ops.convert_to_tensor(self.schedule(step))
        part = ops.cast(step, rate.dtype) / self.warmup_steps
        return rate * ops.minimum(part, 1.0)

    def get_config(self):
        return {
            "schedule": keras.optimizers.schedules.serialize(self.schedule),
            "warmup_steps": self.warmup_steps,
        }

    @classmethod
    def from_config(cls, config):
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(**{**config, "schedule": schedule})
