"""A loop that takes one step at a time."""

import keras
from keras import ops


def sequential_loop(count, body, state):
    """Runs `state = body(i, state)` for i from 0 to `count`, one step after the other.

    Args:
        count: int or scalar int tensor.
        body: function of an int or scalar int tensor and the state.
        state: tuple of tensors, whose shapes the body keeps.

    Returns:
        The last state.
    """

    backend = keras.config.backend()
    if backend in ("torch", "numpy"):
        # They run as Python does, and take slices faster at plain ints.
        for i in range(count):
            state = body(i, state)
        return state

    def step(i, *state):
        return (i + 1, *body(i, state))

    def unfinished(i, *state):
        return i < count

    start = ops.cast(0, "int32")
    if backend == "tensorflow":
        import tensorflow as tf

        # TensorFlow would run ten steps at once, which need ten times the memory, and
        # Keras has no argument against it.
        return tf.while_loop(unfinished, step, (start, *state), parallel_iterations=1)[
            1:
        ]
    return ops.while_loop(unfinished, step, (start, *state))[1:]
