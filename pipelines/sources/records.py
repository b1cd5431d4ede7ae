"""TFRecord files: many items in each, anywhere that TensorFlow can read.

`record_schema` has what a record holds. Beside the files, `records.json` has what must
be known of them all before they are read; `scripts/write_records.py` writes both.
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
from pipelines.sources.record_schema import INDEX, parser, specs_of, summarizer
from pipelines.sources.source import SPLITS, Source
from pipelines.sources.splits import random_split, stratified_split

# The part of records that are not divided yet.
WHOLE = "all"
_KEYS = {"version", "modality", "classes", "features", "shards"}
_SHARD_KEYS = {"file", "split", "labels", "fingerprints", "bytes", "sha256"}
# Of how many files records are read at the same time, in turn.
CYCLE_LENGTH = 16


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


@dataclasses.dataclass(frozen=True)
class RecordFiles:
    """Files, and which of their records belong to a source.

    Attributes:
        shards: tuple of `Shard`.
        chosen: tuple of bool arrays, for each shard one value a record.
        specs: dict from the features of a record, but for "label", to `tf.TensorSpec`.
        classes: tuple of str.
        name: str, what messages call the source.
        multi_label: bool, whether a record may have several labels, or none.
    """

    shards: tuple[Shard, ...]
    chosen: tuple[np.ndarray, ...]
    specs: dict
    classes: tuple[str, ...]
    name: str
    multi_label: bool

    @property
    def num_items(self):
        return int(sum(mask.sum() for mask in self.chosen))

    def source(self):
        """The `Source` of the chosen records.

        Their order is always the same: a record of each of `CYCLE_LENGTH` files in
        turn.
        """
        used = [i for i, mask in enumerate(self.chosen) if mask.any()]
        masks = [self.chosen[i] for i in used]
        mask = np.concatenate(masks)
        starts = np.cumsum([0, *map(len, masks)])[:-1]
        is_whole = mask.all()

        def read(path, start):
            records = tf.data.TFRecordDataset(path)
            if is_whole:
                return records
            numbered = records.enumerate(start)
            kept = numbered.filter(lambda number, _: tf.gather(mask, number))
            return kept.map(lambda _, record: record)

        paths = [self.shards[i].path for i in used]
        files = tf.data.Dataset.from_tensor_slices((paths, starts.astype(np.int64)))
        records = files.interleave(
            read,
            cycle_length=min(len(paths), CYCLE_LENGTH),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        # Keras warns where data whose length it does not know ends.
        records = records.apply(tf.data.experimental.assert_cardinality(self.num_items))
        parse = parser(self.specs, len(self.classes) if self.multi_label else None)
        return Source(
            dataset=records.enumerate().map(
                lambda index, record: {**parse(record), "index": index},
                tf.data.AUTOTUNE,
                deterministic=True,
            ),
            num_items=self.num_items,
            classes=self.classes,
            name=self.name,
            multi_label=self.multi_label,
            files=self,
        )

    def part(self, num_workers, worker):
        """Every `num_workers`-th of the files that hold chosen records.

        Returns:
            `RecordFiles`, or None where there are fewer files than workers.
        """
        used = [i for i, mask in enumerate(self.chosen) if mask.any()]
        if len(used) < num_workers:
            return None
        kept = used[worker::num_workers]
        return dataclasses.replace(
            self,
            shards=tuple(self.shards[i] for i in kept),
            chosen=tuple(self.chosen[i] for i in kept),
        )

    def damage(self):
        """Reads all files to find one that is broken.

        Returns:
            str, a sentence that names the file and the reason; None if all is well.
        """
        for shard, mask in zip(self.shards, self.chosen, strict=True):
            if not mask.any():
                continue
            sentence = _damage(shard.path, len(mask))
            if sentence is not None:
                return sentence
        return None

    def fingerprints(self):
        """The fingerprint of each chosen record, and where it is.

        Returns:
            Pair of an int64 array and a function from a position in it to str.
        """
        chosen = list(zip(self.shards, self.chosen, strict=True))
        places = [
            (shard.path, number)
            for shard, mask in chosen
            for number in np.flatnonzero(mask)
        ]

        def place(position):
            path, number = places[position]
            return f"{path}, record {number}"

        return np.concatenate([s.fingerprints[m] for s, m in chosen]), place


def load_records(pattern, split, rule, modality="image"):
    """Loads one split of records in TFRecord files.

    Where the files are, as `records.json` says, of a train part and of a test or
    validation part, these are used: the test is the test part, or the validation part
    if there is no test part; the validation is the validation part beside a test part,
    else a stratified part of the train part. Otherwise all three are stratified parts
    of all the files together. Parts of multi-label records are drawn at random.

    Files without a `records.json` are read whole once, to count their records.

    Args:
        pattern: str, a glob of files in one folder, or the folder itself; anything
            that `tf.io.gfile` reads.
        split: "train", "validation" or "test".
        rule: `SplitRule`.
        modality: str, the kind of data, a key of `MODALITIES`.

    Returns:
        A `Source`.

    Raises:
        ValueError: if there are no such files, or they do not hold what is needed.
    """
    paths, index = _find_files(str(pattern))
    if index is not None:
        shards, specs, classes = _look_up(index, paths, modality)
    else:
        states = tuple((path, *_state(path)) for path in paths)
        shards, specs, classes = _count(states, modality)
    multi_label = any(shard.labels is None for shard in shards)
    shards, chosen = _divide(shards, split, rule, classes)
    name = f"tfrecord:{pattern}"
    return RecordFiles(shards, chosen, specs, classes, name, multi_label).source()


def _find_files(pattern):
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
        mtime, size = _state(path)
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


def _state(path):
    """When a file was changed, and its size in bytes."""
    state = tf.io.gfile.stat(path)
    return state.mtime_nsec, state.length


def _look_up(index_path, paths, modality):
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
    _, size = _state(shard.path)
    if size != shard.size:
        raise ValueError(
            f"Cannot read the records of '{shard.path}': it has {size} bytes, and "
            f"{shard.size} were written."
        )


@functools.lru_cache(maxsize=4)  # Once for all splits; files that change are others.
def _count(states, modality):
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
            raise ValueError(_damage(path) or sentence) from None
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


def _damage(path, num_records=None):
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


def _divide(shards, split, rule, classes):
    """The shards that are of use for a split, and which of their records are chosen."""
    parts = {
        name: [shard for shard in shards if shard.split == name]
        for name in (*SPLITS, WHOLE)
    }
    train, validation = parts["train"] + parts[WHOLE], parts["validation"]
    test = parts["test"]
    if not train or not (validation or test):
        train, validation, test = shards, [], []
    elif not test:
        validation, test = [], validation
    if split == "test" and test:
        pool = test
    elif split == "validation" and validation:
        pool = validation
    else:
        if test:
            rule = dataclasses.replace(rule, test_fraction=0)
        if validation:
            rule = dataclasses.replace(rule, validation_fraction=0)
        ends = np.cumsum([len(shard) for shard in train])
        mask = np.zeros(ends[-1], bool)
        mask[_positions(train, split, rule, classes)] = True
        return tuple(train), tuple(np.split(mask, ends[:-1]))
    return tuple(pool), tuple(np.ones(len(shard), bool) for shard in pool)


def _positions(shards, split, rule, classes):
    """Which of all records of some shards, counted through, make up a split."""
    if any(shard.labels is None for shard in shards):
        return random_split(sum(map(len, shards)), split, rule)
    labels = np.concatenate([shard.labels for shard in shards])
    return stratified_split(labels, split, rule, classes)
