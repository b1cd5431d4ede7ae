"""What every source of labelled examples hands to the pipelines."""

import dataclasses

import numpy as np
import tensorflow as tf

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of a labelled data set.

    Attributes:
        dataset: finite `tf.data.Dataset` of dicts, always in the same order. Each
            has "label" (int32 scalar; where examples have several, float32 (E,), 1
            for each class that an example has and 0 for the others), "index" (int64
            scalar, the position in this dataset) and one form of the input: "path"
            (string scalar), "encoded" (string scalar, the bytes of a file), or the
            data itself:
            "image", uint8 or float in [0, 1], (H, W, channels);
            "video", uint8 (T, H, W, channels);
            "audio", float32 in [-1, 1], (samples,), with "rate", int32 scalar, in Hz;
            "points", float32 (n, 3 + features); or "text", a string scalar.
        num_items: int, the number of examples.
        classes: tuple of str, the name of each of the E labels.
        name: str, what messages call this source.
        multi_label: bool, whether an example may have several labels, or none.
    """

    dataset: tf.data.Dataset
    num_items: int
    classes: tuple[str, ...]
    name: str
    multi_label: bool = False


def source_from_columns(columns, labels, *, classes, name):
    """Builds a source from columns held in memory.

    Args:
        columns: dict of arrays or lists, each of length N.
        labels: integer array of shape (N,); or of 0 and 1, of shape (N, E), for
            examples with several labels.
        classes: sequence of str, the name of each label.
        name: str, what messages call this source.

    Returns:
        A `Source` of N items in the given order.
    """
    labels = np.asarray(labels)
    multi_label = labels.ndim == 2
    labels = labels.astype(np.float32 if multi_label else np.int32)
    indexes = np.arange(len(labels), dtype=np.int64)
    return Source(
        dataset=tf.data.Dataset.from_tensor_slices(
            {**columns, "label": labels, "index": indexes}
        ),
        num_items=len(labels),
        classes=tuple(classes),
        name=name,
        multi_label=multi_label,
    )


def without(source, indexes):
    """The source without some of its items.

    Args:
        source: `Source`.
        indexes: collection of ints, the indexes of the items to leave out.

    Returns:
        A `Source` whose remaining items are numbered anew.
    """
    if not indexes:
        return source
    left_out = tf.constant(sorted(indexes), tf.int64)
    kept = source.dataset.filter(
        lambda example: tf.reduce_all(example["index"] != left_out)
    )
    num_items = source.num_items - len(indexes)
    # Keras warns where data whose length it does not know ends.
    kept = kept.apply(tf.data.experimental.assert_cardinality(num_items))
    return dataclasses.replace(
        source,
        dataset=kept.enumerate().map(
            lambda index, example: {**example, "index": index}
        ),
        num_items=num_items,
    )
