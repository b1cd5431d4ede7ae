"""Steps that one text goes through on its way into a batch.

Each factory returns a pure function from an example, a dict of tensors, to an
example; it works eagerly and inside `tf.data` alike. A text is a string scalar until
`to_ids`, int32 ids of shape (n,) from then on.

Random steps draw from `example["seed"]` alone, an integer tensor of shape (2,), each
in its own way, so the same seed gives the same text in whatever order and on however
many threads examples are read.
"""

import tensorflow as tf

from pipelines import python_ops
from pipelines.seeds import op_seed
from pipelines.text_files import MASK, PAD, encode


def to_ids():
    """Makes the step that reads a text and encodes it as ids.

    Takes `example["text"]`, a string scalar, or `example["encoded"]`, which is the
    same for texts, or else the file at `example["path"]`. A text without a byte is an
    error.

    Returns:
        Function from example to example with "text", int32 (n,), n at least 1.
    """

    def apply(example):
        example = dict(example)
        if "encoded" in example:
            text = example.pop("encoded")
        elif "text" in example:
            text = example["text"]
        else:
            text = tf.io.read_file(example["path"])
        ids = encode(text)
        example["text"] = tf.cond(
            tf.size(ids) > 0,
            lambda: ids,
            lambda: tf.ensure_shape(
                python_ops.call(_complain_of_empty, [ids], tf.int32), (None,)
            ),
        )
        return example

    return apply


def to_ids_or_problem():
    """Makes the step that encodes a text as `to_ids`, in operations of TensorFlow
    alone.

    Takes `example["encoded"]`, a string scalar.

    Returns:
        Function from example to example with "text", int32 (n,), and "problem": a
        string, empty where n is at least 1.
    """

    def apply(example):
        example = dict(example)
        ids = encode(example.pop("encoded"))
        problem = tf.where(tf.size(ids) > 0, "", "a text without a byte")
        return {**example, "text": ids, "problem": problem}

    return apply


def _complain_of_empty(ids):
    raise ValueError("it is empty")


def crop(length, fraction=1.0):
    """Makes the step that keeps a random part of a text, in one piece.

    Args:
        length: int, the largest number of ids to keep.
        fraction: float in (0, 1], the smallest part of the text to keep, as far as
            `length` allows; the part is drawn uniformly between it and 1.

    Returns:
        Function from example to example.
    """

    def apply(example):
        ids = example["text"]
        seeds = tf.random.split(op_seed(example, "crop"), 2)
        part = tf.random.stateless_uniform((), seeds[0], fraction, 1.0)
        kept = tf.math.ceil(part * tf.cast(tf.size(ids), tf.float32))
        kept = tf.minimum(tf.cast(kept, tf.int32), length)
        num_starts = tf.size(ids) - kept + 1
        start = tf.random.stateless_uniform((), seeds[1], 0, num_starts, tf.int32)
        return {**example, "text": ids[start : start + kept]}

    return apply


def cut(length):
    """Makes the step that keeps at most the first `length` ids.

    Args:
        length: int.

    Returns:
        Function from example to example.
    """

    def apply(example):
        return {**example, "text": example["text"][:length]}

    return apply


def mask_bytes(rate):
    """Makes the step that hides bytes at random behind the id of a mask.

    Args:
        rate: float in [0, 1), the part of the bytes to hide.

    Returns:
        Function from example to example.
    """

    def apply(example):
        ids = example["text"]
        seed = op_seed(example, "mask_bytes")
        is_hidden = tf.random.stateless_uniform(tf.shape(ids), seed) < rate
        return {**example, "text": tf.where(is_hidden, MASK, ids)}

    return apply


def pad(length):
    """Makes the step that fills a text up to `length` ids.

    Args:
        length: int, at least the number of ids.

    Returns:
        Function from example to example with "text" of shape (length,).
    """

    def apply(example):
        ids = example["text"]
        padded = tf.pad(ids, [(0, length - tf.size(ids))], constant_values=PAD)
        return {**example, "text": tf.ensure_shape(padded, (length,))}

    return apply
