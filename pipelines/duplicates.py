"""Items of one part of the data that are also in another."""

import hashlib
import os

import numpy as np


def find_duplicates(held_out, train):
    """Finds items that are in two parts of the data, byte for byte.

    Of files, only those are read that have the size of one in the other part. Items
    of TFRecord files are told by the fingerprints in `records.json`.

    Args:
        held_out: `Source` of the validation or the test.
        train: `Source` of the training, of the same kind.

    Returns:
        List of pairs of str: where the item is in `held_out`, and where it is first in
        `train`. Empty where neither comes from files.
    """
    if held_out.files is not None and train.files is not None:
        return _same_records(held_out.files, train.files)
    specs = (held_out.dataset.element_spec, train.dataset.element_spec)
    if all("path" in spec for spec in specs):
        return _same_files(_paths(held_out), _paths(train))
    return []


def _same_records(held_out, train):
    known, place_in_train = train.fingerprints()
    found, place = held_out.fingerprints()
    unique, first = np.unique(known, return_index=True)
    where = np.minimum(np.searchsorted(unique, found), len(unique) - 1)
    return [
        (place(position), place_in_train(first[where[position]]))
        for position in np.flatnonzero(unique[where] == found)
    ]


def _paths(source):
    paths = source.dataset.map(lambda example: example["path"]).batch(4096)
    return [path for batch in paths.as_numpy_iterator() for path in batch]


def _same_files(held_out, train):
    sizes = [_size(path) for path in held_out]
    sizes_in_train = [_size(path) for path in train]
    shared = set(sizes) & set(sizes_in_train) - {None}
    first = {}
    for path, size in zip(train, sizes_in_train, strict=True):
        if size in shared:
            first.setdefault(_digest(path), path)
    first.pop(None, None)
    found = []
    for path, size in zip(held_out, sizes, strict=True):
        original = first.get(_digest(path)) if size in shared else None
        if original is not None:
            found.append((_text(path), _text(original)))
    return found


def _size(path):
    """The size of a file; None where it cannot be found, as reading it will tell."""
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _digest(path):
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None


def _text(path):
    return path.decode("utf-8", "backslashreplace")
