"""The labels of examples as vectors."""

import tensorflow as tf


def one_hot(num_classes):
    """An op that makes of each label a vector.

    Args:
        num_classes: int, E.

    Returns:
        Function from example to example, whose "label" is float32 (E,): 1 for the
        class and 0 for the others. Labels that are vectors already stay as they are.
    """

    def apply(example):
        label = example["label"]
        if label.shape.rank == 0:
            label = tf.one_hot(label, num_classes)
        return {**example, "label": label}

    return apply
