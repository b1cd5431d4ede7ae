"""Random numbers that follow from an example alone."""

import zlib

import tensorflow as tf


def op_seed(example, op_name):
    """A seed of its own for each op, so that one op's draw tells nothing of another.

    Args:
        example: dict with "seed", an integer tensor of shape (2,).
        op_name: str, the name of the op that draws.

    Returns:
        Integer tensor of shape (2,).
    """
    return tf.random.experimental.stateless_fold_in(
        example["seed"], tf.cast(zlib.crc32(op_name.encode()), example["seed"].dtype)
    )
