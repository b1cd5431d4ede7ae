"""TFRecord files: which there are, and what must be known of them before they are read.

Beside the files, `records.json` has it; without that, they are read once to find it.
"""

import dataclasses
import fnmatch
import functools
import json
import os
import warnings

import numpy as np
import tensorflow as tf

from pipelines.errors import reason
from pipelines.sources.modalities import find_modality
from pipelines.sources.record_schema import INDEX, specs_of, summarizer

# The part of records that are not divided yet.
WHOLE = "all"
_KEYS = {"version", "modality", "classes", "features", "shards"}
_SHARD_KEYS = {"file", "split", "labels", "fingerprints", "bytes", "sha256"}


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file.

    Attributes:
        path: str.
        split: "train", "validation", "test" or "all".
        labels: int64 array, of each record in the order of the file; None where
            records may have several.
        fingerprints: int64 array, equal where the data of two records is.
        size: int, bytes.
    """

    path: str
    split: str
    labels: np.ndarray | None
    fingerprints: np.ndarray
    size: int

    def __len__(self):
        return len(self.fingerprints)


def find_files(pattern):
    """Sorted paths of the files of a glob or a folder, and that of their index.

    All files are in one folder; the index is None where there is none.
    """
    glob = os.path.expanduser(pattern)
    try:
        if tf.io.gfile.isdir(glob):
            glob = os.path.join(glob, "*.tfrecord")
        paths = sorted(tf.io.gfile.glob(glob))
    except tf.errors.OpError as error:
        raise ValueError(f"Cannot list tfrecord:{pattern}: {reason(error)}.") from None
    paths = [path for path in paths if os.path.basename(path) != INDEX]
    if not paths:
        raise ValueError(f"There are no such files. Received: tfrecord:{pattern}")
    folder = os.path.dirname(paths[0])
    if any(os.path.dirname(path) != folder for path in paths):
        raise ValueError(
            f"The files must be in one folder, beside their {INDEX}. Received: "
            f"tfrecord:{pattern} with {paths[0]} and {paths[-1]}"
        )
    index = os.path.join(folder, INDEX)
    if not tf.io.gfile.exists(index):
        return paths, None
    found = {os.path.basename(path) for path in paths}
    for shard in read_index(index)["shards"]:
        name = shard["file"]
        if name not in found and fnmatch.fnmatch(name, os.path.basename(glob)):
            raise ValueError(f"{index} tells of {name}, which is not there.")
    return paths, index


def read_index(path):
    """Reads a `records.json`.

    Args:
        path: str.

    Returns:
        Dict, as `docs/data.md` has it.

    Raises:
        ValueError: if the file is none.
    """
    try:
        mtime, size = state_of(path)
        index = _read_json(path, mtime, size)
        for keys, part in (
            (_KEYS, index),
            *((_SHARD_KEYS, s) for s in index["shards"]),
        ):
            missing = sorted(keys - part.keys())
            if missing:
                raise ValueError(f"it lacks {missing}")
    # What has other types than it should is wrong in any of these ways.
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Cannot read {path!r}, which scripts/write_records.py writes: {error}."
        ) from None
    except tf.errors.OpError as error:
        raise ValueError(f"Cannot read {path!r}: {reason(error)}.") from None
    if index["version"] != 1:
        raise ValueError(
            f"The records are of a later version than 1. Received: {path} with "
            f"version={index['version']!r}"
        )
    return index


@functools.lru_cache(maxsize=4)  # For all splits; with what changes when it does.
def _read_json(path, mtime, size):
    with tf.io.gfile.GFile(path) as file:
        return json.load(file)


def state_of(path):
    """When a file was changed, and its size in bytes."""
    state = tf.io.gfile.stat(path)
    return state.mtime_nsec, state.length


def look_up(index_path, paths, modality):
    """Shards, specs and classes of files that `records.json` knows."""
    index = read_index(index_path)
    if index["modality"] != modality:
        raise ValueError(
            f"The records are of modality {index['modality']!r}. "
            f"Received: modality={modality!r} for {index_path}"
        )
    # Those of earlier writers do not say, and have one label each.
    multi_label = index.get("multi_label", False)
    known = {shard["file"]: shard for shard in index["shards"]}
    shards = []
    for path in paths:
        entry = known.get(os.path.basename(path))
        if entry is None:
            raise ValueError(f"{index_path} knows no such file. Received: {path}")
        shard = Shard(
            path=path,
            split=entry["split"],
            labels=None if multi_label else np.array(entry["labels"], np.int64),
            fingerprints=np.array(entry["fingerprints"], np.int64),
            size=entry["bytes"],
        )
        check_size(shard)
        shards.append(shard)
    specs = {
        key: tf.TensorSpec(feature["shape"], feature["dtype"])
        for key, feature in index["features"].items()
        if key != "label"
    }
    return shards, specs, tuple(index["classes"])


def check_size(shard):
    """Raises `ValueError` unless a file has the size with which it was written."""
    _, size = state_of(shard.path)
    if size != shard.size:
        raise ValueError(
            f"Cannot read the records of '{shard.path}': it has {size} bytes, and "
            f"{shard.size} were written."
        )


@functools.lru_cache(maxsize=4)  # Once for all splits; files that change are others.
def count_records(states, modality):
    """Shards, specs and classes of files that nothing but themselves tells of."""
    paths = [path for path, *_ in states]
    specs = None
    shards = []
    for path, _, size in states:
        try:
            if specs is None:
                for record in tf.data.TFRecordDataset(path).take(1).as_numpy_iterator():
                    specs = specs_of(record, find_modality(modality).raw)
            if specs is None:  # Not a record so far.
                continue
            labels, fingerprints = _summarize(path, specs)
        except (ValueError, tf.errors.OpError) as error:
            sentence = f"Cannot read the records of '{path}': {reason(error)}."
            raise ValueError(find_damage(path) or sentence) from None
        shards.append(Shard(path, WHOLE, labels, fingerprints, size))
    labels = np.concatenate([shard.labels for shard in shards]) if shards else []
    if not len(labels):
        raise ValueError(f"The files hold no records. Received: {', '.join(paths[:3])}")
    if min(labels) < 0:
        raise ValueError(
            "'label' must be the number of a class, from 0. "
            f"Received: {min(labels)} in {os.path.dirname(paths[0])}"
        )
    classes = tuple(str(label) for label in range(max(labels) + 1))
    warnings.warn(
        f"There is no {INDEX} beside {paths[0]}: the {len(labels):,} records of "
        f"{len(paths)} files were read to count them, and the {len(classes)} classes "
        "go by their numbers. scripts/write_records.py writes one, with their names.",
        stacklevel=5,
    )
    return shards, specs, classes


def _summarize(path, specs):
    """Labels and fingerprints of the records of a file."""
    summaries = tf.data.TFRecordDataset(path).map(summarizer(specs), tf.data.AUTOTUNE)
    columns = list(zip(*summaries.batch(1024).as_numpy_iterator(), strict=True))
    if not columns:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return tuple(np.concatenate(column) for column in columns)


def find_damage(path, num_records=None):
    """Why a file cannot be read whole, in a sentence; None if it can be."""
    count = 0
    try:
        for batch in tf.data.TFRecordDataset(path).batch(1024):
            count += len(batch)
    except tf.errors.OpError as error:
        return (
            f"Cannot read the records of '{path}': the file is truncated or damaged "
            f"({reason(error)})."
        )
    if num_records is not None and count != num_records:
        return (
            f"Cannot read the records of '{path}': it holds {count}, and should hold "
            f"{num_records}."
        )
    return None
