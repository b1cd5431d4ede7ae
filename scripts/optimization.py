"""How a run changes its weights: optimizer, schedule, clipping, averages.

They are the section `optimizer` of a config. What was published, all of it with LAMB:

| model | batch | learning rate | schedule | decay | clipping |
|---|---|---|---|---|---|
| Perceiver, ImageNet | ? | 4e-3 | "steps": 84, 102, 114 of 120 epochs | ? | ? |
| Perceiver, ModelNet40 | 512 | 1e-3 | "constant" | ? | ? |
| Perceiver IO, ImageNet | 1024 | 2e-3 | "flat_cosine": 55 of 110 epochs | 0.1 | 10 |
| Perceiver IO, language | 2048 | 1.25e-3 | "cosine" | 0.01 | ? |
| Perceiver IO, optical flow | 512 | 4e-4 | "cosine" | ? | ? |

A question mark is what the papers leave open. Perceiver IO's learning rate for ImageNet
is 5e-4 for each 256 examples of a batch, and has no warm-up; that for language has one
of 1,000 steps.
"""

import itertools
import math
import numbers

import keras

from keras_perceiver.optimizers import UNDECAYED, Lamb, WarmUp

OPTIMIZERS = ("adamw", "lamb")
SCHEDULES = ("constant", "cosine", "flat_cosine", "steps")


def check_length(config):
    """Raises `ValueError` unless a config says how long to train."""
    name = "steps" if config.epochs is None else "epochs"
    if config[name] < 1:
        raise ValueError(f"`{name}` must be at least 1. Received: {config[name]}")


def num_epochs(config, steps_per_epoch):
    """How many epochs to train: those of the config, or what its steps amount to."""
    return config.epochs or max(1, round(config.steps / steps_per_epoch))


def check(config, strategy="none"):
    """Checks a section `optimizer`, before anything is computed.

    Args:
        config: the section.
        strategy: string, `config.strategy`.

    Raises:
        ValueError: where a value is out of its range.
    """

    def require(is_right, name, what):
        if not is_right:
            raise ValueError(
                f"`config.optimizer.{name}` must be {what}. "
                f"Received: {name}={config[name]!r}"
            )

    require(config.name in OPTIMIZERS, "name", f"one of {list(OPTIMIZERS)}")
    require(config.schedule in SCHEDULES, "schedule", f"one of {list(SCHEDULES)}")
    require(
        0 < config.learning_rate < float("inf"), "learning_rate", "a positive number"
    )
    for name in ("weight_decay", "warmup_epochs", "clip_norm"):
        require(0 <= config[name] < float("inf"), name, "a number of at least 0")
    require(
        _are_rising_parts(config.decay_at),
        "decay_at",
        "rising parts of the run, each between 0 and 1",
    )
    require(0 < config.decay_factor < 1, "decay_factor", "a number between 0 and 1")
    require(0 <= config.flat_part < 1, "flat_part", "a number in [0, 1)")
    steps = config.gradient_accumulation_steps
    require(
        isinstance(steps, numbers.Integral) and steps >= 1,
        "gradient_accumulation_steps",
        "an integer of at least 1",
    )
    if steps > 1 and strategy != "none":
        # Keras decides in each replica whether to update, where it can then not reduce.
        raise ValueError(
            "`config.optimizer.gradient_accumulation_steps` must be 1 where "
            "`config.strategy` is not 'none'. Received: "
            f"gradient_accumulation_steps={steps}, strategy={strategy!r}"
        )
    momentum = config.ema_momentum
    require(
        momentum is None or 0 < momentum < 1,
        "ema_momentum",
        "a number between 0 and 1, or None",
    )


def _are_rising_parts(values):
    if not values or not all(isinstance(value, numbers.Real) for value in values):
        return False
    return all(a < b for a, b in itertools.pairwise((0, *values, 1)))


def build_optimizer(config, variables, epochs, steps_per_epoch):
    """The optimizer of a section `optimizer`.

    Args:
        config: the section, which `check` has seen.
        variables: list of `keras.Variable`, what is trained.
        epochs: int, length of the run.
        steps_per_epoch: int, batches of an epoch.

    Returns:
        `keras.optimizers.Optimizer`.

    Raises:
        ValueError: where `undecayed` names no variable.
    """
    schedule = build_schedule(
        config, epochs * steps_per_epoch, int(config.warmup_epochs * steps_per_epoch)
    )
    every = config.gradient_accumulation_steps
    arguments = {
        "weight_decay": config.weight_decay,
        "global_clipnorm": config.clip_norm or None,
        "gradient_accumulation_steps": every if every > 1 else None,
    }
    if config.ema_momentum is not None:
        # Keras averages after each batch, whether or not it has updated the weights.
        momentum = config.ema_momentum ** (1 / every)
        arguments |= {"use_ema": True, "ema_momentum": momentum}
    undecayed = config.undecayed or ()
    if config.undecayed is None and config.name == "lamb":
        undecayed = UNDECAYED
    names = sorted({variable.name for variable in variables})
    unknown = sorted(set(undecayed) - set(names))
    if unknown and config.undecayed is not None:
        raise ValueError(
            f"`config.optimizer.undecayed` must hold names of variables, of which the "
            f"model has {names}. Received: {unknown}"
        )
    if config.name == "lamb":
        return Lamb(schedule, undecayed=undecayed, **arguments)
    optimizer = keras.optimizers.AdamW(schedule, **arguments)
    optimizer.exclude_from_weight_decay([v for v in variables if v.name in undecayed])
    return optimizer


def build_schedule(config, steps, warmup_steps):
    """The learning rate at each step.

    Args:
        config: the section `optimizer`.
        steps: int, length of the run.
        warmup_steps: int, how many of them have a rising learning rate.

    Returns:
        `keras.optimizers.schedules.LearningRateSchedule`.
    """
    rate = config.learning_rate
    if config.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0,
            warmup_target=rate,
            warmup_steps=warmup_steps,
            decay_steps=max(1, steps - warmup_steps),
        )
    if config.schedule == "steps":
        # Keras has the value after a boundary from the next step on.
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
            [round(part * steps) - 1 for part in config.decay_at],
            [rate * config.decay_factor**i for i in range(len(config.decay_at) + 1)],
        )
    else:
        is_constant = config.schedule == "constant"
        flat_steps = 0 if is_constant else math.floor(config.flat_part * steps)
        # What Keras calls a warm-up stays flat where it starts at its target.
        schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=rate,
            warmup_target=rate,
            warmup_steps=flat_steps,
            decay_steps=max(1, steps - flat_steps),
            alpha=1.0 if is_constant else 0.0,
        )
    return WarmUp(schedule, warmup_steps) if warmup_steps else schedule


def callbacks(config):
    """The callbacks that a section `optimizer` asks for, a list."""
    return [] if config.ema_momentum is None else [AverageInValidation()]


class AverageInValidation(keras.callbacks.Callback):
    """Gives a model its averaged weights while it is validated.

    Training goes on from the very weights that it had, so that a run which resumes from
    a checkpoint is the same run.
    """

    def on_test_begin(self, logs=None):
        variables = self.model.trainable_variables
        self._weights = [keras.ops.convert_to_numpy(v) for v in variables]
        self.model.optimizer.finalize_variable_values(variables)

    def on_test_end(self, logs=None):
        variables = self.model.trainable_variables
        for variable, weight in zip(variables, self._weights, strict=True):
            variable.assign(weight)
        del self._weights
