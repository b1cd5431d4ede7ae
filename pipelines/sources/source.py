"""What every source of labelled examples hands to the pipelines."""

import dataclasses

import numpy as np
import tensorflow as tf

from pipelines.checks import check_integer

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
        files: `RecordFiles`, where the items are in files of many; else None.
        is_part: bool, whether this is one worker's part of a source.
    """

    dataset: tf.data.Dataset
    num_items: int
    classes: tuple[str, ...]
    name: str
    multi_label: bool = False
    files: object = None
    is_part: bool = False


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
    return dataclasses.replace(source, dataset=_renumber(kept), num_items=num_items)


def part(source, num_workers, worker):
    """The part of a source that is for one of several workers.

    The parts are disjoint and together complete. Each is of whole files, where the
    items are in files and there are as many of them as workers; else each worker reads
    all items and keeps every `num_workers`-th. Give each worker a seed of its own, so
    that items of the same number are not augmented alike, and count the steps of an
    epoch with the whole source.

    Args:
        source: `Source`.
        num_workers: int, how many workers there are.
        worker: int in [0, num_workers), which of them this is for.

    Returns:
        A `Source`, whose items are numbered anew.

    Raises:
        ValueError: if an argument is out of its range.
    """
    check_integer("num_workers", num_workers, 1)
    check_integer("worker", worker, 0)
    if worker >= num_workers:
        raise ValueError(
            f"`worker` must be below `num_workers`. Received: worker={worker}, "
            f"num_workers={num_workers}"
        )
    if num_workers > source.num_items:
        raise ValueError(
            f"`num_workers` must not be larger than the {source.num_items} items of "
            f"{source.name}. Received: num_workers={num_workers}"
        )
    files = source.files
    # The files do not know what `without` has left out.
    if files is not None and files.num_items == source.num_items:
        files = files.part(num_workers, worker)
        if files is not None:
            return dataclasses.replace(files.source(), is_part=True)
    return dataclasses.replace(
        source,
        dataset=_renumber(source.dataset.shard(num_workers, worker)),
        num_items=len(range(worker, source.num_items, num_workers)),
        is_part=True,
    )


def _renumber(examples):
    return examples.enumerate().map(lambda index, example: {**example, "index": index})
