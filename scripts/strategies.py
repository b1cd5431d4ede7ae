"""Where a model is trained: `tf.distribute` strategies by name."""

import tensorflow as tf

STRATEGIES = {
    "none": tf.distribute.get_strategy,
    "mirrored": tf.distribute.MirroredStrategy,
}


def strategy(name):
    """The `tf.distribute` strategy of a config."""
    if name not in STRATEGIES:
        raise ValueError(
            f"`config.strategy` must be one of {sorted(STRATEGIES)}. "
            f"Received: strategy={name!r}"
        )
    return STRATEGIES[name]()
