"""Writes a source to TFRecord files, and checks them later."""

import hashlib
import json
import os

import tensorflow as tf

from pipelines.checks import check_integer
from pipelines.errors import reason
from pipelines.sources.record_index import read_index
from pipelines.sources.record_schema import INDEX, label_numbers, serialize


def write_records(sources, folder, *, modality, num_shards=16, name=None):
    """Writes the splits of a data set, whole or not at all.

    What is in files is written as it is there, and arrays as they are. Everything is
    written beside and renamed at the end.

    Args:
        sources: dict from "train", "validation", "test" or "all" to `Source`.
        folder: str, a new or empty folder anywhere that TensorFlow can write.
        modality: str, the kind of data, a key of `MODALITIES`.
        num_shards: int, how many files there are of each split; of a split with fewer
            items, one for each.
        name: str, with which the names of the files begin; the folder's by default.

    Returns:
        Dict, what `records.json` holds.

    Raises:
        ValueError: if the folder is not empty, or an item cannot be read.
    """
    check_integer("num_shards", num_shards, 1)
    folder = os.path.expanduser(str(folder)).rstrip("/")
    check_empty(folder)
    parent, base = os.path.split(folder)
    name = name or base
    partial = os.path.join(parent, f".{base}.partial")
    if tf.io.gfile.exists(partial):  # Of a run that was killed.
        tf.io.gfile.rmtree(partial)
    tf.io.gfile.makedirs(partial)
    try:
        shards = []
        for split, source in sources.items():
            shards += _write_split(source, split, partial, name, num_shards)
        first = next(iter(sources.values()))
        index = {
            "version": 1,
            "name": name,
            "modality": modality,
            "source": first.name,
            "classes": list(first.classes),
            "multi_label": first.multi_label,
            "features": _describe_features(first),
            "splits": {split: source.num_items for split, source in sources.items()},
            "shards": shards,
        }
        with tf.io.gfile.GFile(os.path.join(partial, INDEX), "w") as file:
            file.write(_as_text(index))
        if tf.io.gfile.exists(folder):
            tf.io.gfile.rmtree(folder)  # It is empty.
        tf.io.gfile.rename(partial, folder)
    except BaseException:
        if tf.io.gfile.exists(partial):
            tf.io.gfile.rmtree(partial)
        raise
    return index


def verify_records(folder):
    """Checks the SHA-256 of all files that `records.json` tells of.

    Args:
        folder: str, the folder that `write_records` made.

    Returns:
        The number of files.

    Raises:
        ValueError: if a file is missing, or is not as it was written; a sentence that
            names it.
    """
    folder = os.path.expanduser(str(folder))
    shards = read_index(os.path.join(folder, INDEX))["shards"]
    for shard in shards:
        path = os.path.join(folder, shard["file"])
        try:
            digest = _sha256(path)
        except tf.errors.OpError as error:
            raise ValueError(f"Cannot read '{path}': {reason(error)}.") from None
        if digest != shard["sha256"]:
            raise ValueError(
                f"'{path}' is not as it was written: its SHA-256 is {digest}, and was "
                f"{shard['sha256']}."
            )
    return len(shards)


def check_empty(folder):
    """Raises `ValueError` unless a folder is empty, or not there at all."""
    folder = os.path.expanduser(str(folder))
    if not tf.io.gfile.exists(folder):
        return
    if not tf.io.gfile.isdir(folder):
        raise ValueError(f"Records must go into a folder. Received: {folder}, a file")
    entries = sorted(tf.io.gfile.listdir(folder))
    if entries:
        raise ValueError(
            "Records must go into a new or empty folder. "
            f"Received: {folder}, which holds {', '.join(entries[:3])}"
        )


def _write_split(source, split, folder, name, num_shards):
    """Writes the files of a split; returns their entries in `records.json`."""
    num_shards = min(num_shards, source.num_items)
    items = source.dataset.as_numpy_iterator()
    shards = []
    for shard in range(num_shards):
        file = f"{name}-{split}-{shard:05d}-of-{num_shards:05d}.tfrecord"
        # As even as can be, and in the order of the source.
        start, stop = (
            source.num_items * end // num_shards for end in (shard, shard + 1)
        )
        labels, fingerprints = [], []
        path = os.path.join(folder, file)
        with tf.io.TFRecordWriter(path) as writer:
            for _ in range(start, stop):
                item = _with_contents(next(items))
                record, fingerprint = serialize(item)
                writer.write(record)
                labels.append(label_numbers(item["label"]))
                fingerprints.append(fingerprint)
        shards.append(
            {
                "file": file,
                "split": split,
                "items": stop - start,
                "bytes": tf.io.gfile.stat(path).length,
                "sha256": _sha256(path),
                "labels": labels,
                "fingerprints": fingerprints,
            }
        )
    return shards


def _with_contents(item):
    """An item with the bytes of its file, where it has a path."""
    if "path" not in item:
        return item
    item = dict(item)
    path = item.pop("path")
    try:
        # Not `tf.io.gfile`, which takes no names that are not UTF-8.
        item["encoded"] = tf.io.read_file(path).numpy()
    except tf.errors.OpError as error:
        text = path.decode("utf-8", "backslashreplace")
        raise ValueError(f"Cannot read '{text}': {reason(error)}.") from None
    # The class folder and the file: of no machine, and enough to find it.
    item["name"] = b"/".join(path.split(b"/")[-2:])
    return item


def _describe_features(source):
    spec = dict(source.dataset.element_spec)
    del spec["index"]
    if "path" in spec:
        spec["name"] = spec["encoded"] = spec.pop("path")
    return {
        key: {"dtype": value.dtype.name, "shape": value.shape.as_list()}
        for key, value in sorted(spec.items())
    }


def _as_text(index):
    """JSON with a line for each shard, whose lists are long."""
    shards = ",\n".join(f"    {json.dumps(shard)}" for shard in index["shards"])
    rest = json.dumps({**index, "shards": []}, indent=2)
    head, empty, tail = rest.rpartition("[]")
    return f"{head}[\n{shards}\n  ]{tail}\n"


def _sha256(path):
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
