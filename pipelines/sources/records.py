"""TFRecord files: many items in each, anywhere that TensorFlow can read.

`record_schema` has what a record holds. Beside the files, `records.json` has what must
be known of them all before they are read; `scripts/write_records.py` writes both.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from pipelines.sources.record_index import (
    WHOLE,
    Shard,
    count_records,
    find_damage,
    find_files,
    look_up,
    state_of,
)
from pipelines.sources.record_schema import parser
from pipelines.sources.source import SPLITS, Source
from pipelines.sources.splits import random_split, stratified_split

# Of how many files records are read at the same time, in turn.
CYCLE_LENGTH = 16


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
            sentence = find_damage(shard.path, len(mask))
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
    paths, index = find_files(str(pattern))
    if index is not None:
        shards, specs, classes = look_up(index, paths, modality)
    else:
        states = tuple((path, *state_of(path)) for path in paths)
        shards, specs, classes = count_records(states, modality)
    multi_label = any(shard.labels is None for shard in shards)
    shards, chosen = _divide(shards, split, rule, classes)
    name = f"tfrecord:{pattern}"
    return RecordFiles(shards, chosen, specs, classes, name, multi_label).source()


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
