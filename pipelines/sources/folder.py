"""Files on disk, one folder a class, or with a file that lists their labels."""

import dataclasses
import os
import warnings

import numpy as np

from pipelines.sources.labels_file import LABELS_FILE, load_labels_file
from pipelines.sources.modalities import find_modality
from pipelines.sources.paths import printable
from pipelines.sources.source import source_from_columns
from pipelines.sources.splits import stratified_split

_SYSTEM_FILES = (b"thumbs.db", b"desktop.ini")
_VALIDATION_NAMES = (b"validation", b"valid", b"val")


def load_folder(path, split, rule, modality="image"):
    """Loads one split of a folder with one folder of files for each class.

    A file PATH/labels.csv takes the place of such folders, and may give files several
    labels: `load_labels_file`.

    Where PATH has the folders `train` and `test`, or `train` and one of
    `validation`, `valid` and `val`, these hold the class folders. Then the test is
    `test`, or the validation folder if there is no `test`; the validation is the
    validation folder beside a `test`, else a stratified part of `train`. Otherwise
    all three are stratified parts of PATH.

    Args:
        path: str, bytes or path-like.
        split: "train", "validation" or "test".
        rule: `SplitRule`.
        modality: str, the kind of files, a key of `MODALITIES`.

    Returns:
        A `Source` of paths, whose classes are the sorted names of the folders.

    Raises:
        ValueError: if PATH is no folder of class folders with enough files, or its
            labels.csv is wrong.
    """
    root = os.fsencode(os.path.expanduser(path))
    if not os.path.isdir(root):
        raise ValueError(f"There is no such folder. Received: folder:{printable(root)}")
    if os.path.isfile(os.path.join(root, LABELS_FILE)):
        return load_labels_file(root, split, rule, find_modality(modality))
    scan = _Scan(find_modality(modality))
    train, validation, test = _split_folders(scan, root)
    if validation is not None and test is None:
        validation, test = None, validation
    class_names, paths, labels = _read_training_folder(scan, train)
    classes = [printable(class_name) for class_name in class_names]
    if split == "test" and test is not None:
        paths, labels = _read_held_out_folder(scan, test, class_names)
    elif split == "validation" and validation is not None:
        paths, labels = _read_held_out_folder(scan, validation, class_names)
    else:
        if test is not None:
            rule = dataclasses.replace(rule, test_fraction=0)
        if validation is not None:
            rule = dataclasses.replace(rule, validation_fraction=0)
        chosen = stratified_split(labels, split, rule, classes)
        paths = [paths[position] for position in chosen]
        labels = labels[chosen]
    scan.warn_of_ignored(root)
    return source_from_columns(
        {"path": paths}, labels, classes=classes, name=f"folder:{printable(root)}"
    )


class _Scan:
    """Lists folders, and remembers what it found there that is of no use."""

    def __init__(self, modality):
        self.modality = modality
        self.ignored = []

    def folders(self, folder):
        """Sorted names of the folders in `folder`."""
        folders, others = [], []
        for entry in _visible_entries(folder):
            (folders if entry.is_dir() else others).append(entry)
        self.ignored += [entry.path for entry in others]
        return [entry.name for entry in folders]

    def files(self, folder):
        """Sorted paths of the files in `folder` that are of the modality."""
        files, others = [], []
        for entry in _visible_entries(folder):
            suffixes = self.modality.suffixes
            is_fit = entry.is_file() and entry.name.lower().endswith(suffixes)
            (files if is_fit else others).append(entry)
        self.ignored += [entry.path for entry in others]
        return [entry.path for entry in files]

    def warn_of_ignored(self, root):
        """Warns once of all files and folders that are of no use."""
        if not self.ignored:
            return
        first = ", ".join(printable(os.path.relpath(p, root)) for p in self.ignored[:3])
        warnings.warn(
            f"Ignored {len(self.ignored)} entries of {printable(root)} that are no "
            f"{self.modality.noun}s, such as: {first}",
            stacklevel=4,
        )


def _visible_entries(folder):
    with os.scandir(folder) as entries:
        visible = [
            entry
            for entry in entries
            if not entry.name.startswith(b".")
            and entry.name.lower() not in _SYSTEM_FILES
        ]
    return sorted(visible, key=lambda entry: entry.name)


def _split_folders(scan, root):
    """Returns the folders of train, validation and test; None for a missing one."""
    found = {
        entry.name.lower(): entry.path
        for entry in _visible_entries(root)
        # With files directly inside, `train` is just the class of trains.
        if entry.is_dir() and any(e.is_dir() for e in _visible_entries(entry.path))
    }
    train, test = found.get(b"train"), found.get(b"test")
    validation = next((found[n] for n in _VALIDATION_NAMES if n in found), None)
    if train is None or (validation is None and test is None):
        return root, None, None
    used = (train, validation, test)
    scan.ignored += [e.path for e in _visible_entries(root) if e.path not in used]
    return used


def _read_training_folder(scan, folder):
    """Returns class names (bytes), paths (bytes) and labels, int64 (N,)."""
    class_names = scan.folders(folder)
    if not class_names:
        raise ValueError(
            f"The folder must hold one folder of {scan.modality.noun}s for each class. "
            f"Received: {printable(folder)} without folders"
        )
    if len(class_names) < 2:
        raise ValueError(
            "The folder must hold at least two classes. "
            f"Received: {printable(folder)} with only {printable(class_names[0])!r}"
        )
    files = [scan.files(os.path.join(folder, name)) for name in class_names]
    for name, members in zip(class_names, files, strict=True):
        if not members:
            noun, formats = scan.modality.noun, scan.modality.formats
            raise ValueError(
                f"Each class folder must hold files of {noun}s ({formats}). "
                f"Received: {printable(os.path.join(folder, name))} without any"
            )
    return class_names, *_flatten(files)


def _read_held_out_folder(scan, folder, class_names):
    """Returns paths (bytes) and labels, int64 (N,); a class may be missing."""
    present = scan.folders(folder)
    unknown = sorted(set(present) - set(class_names))
    if unknown:
        raise ValueError(
            "Each class must have a folder in the training data as well. "
            f"Received: {printable(os.path.join(folder, unknown[0]))} without one"
        )
    files = [
        scan.files(os.path.join(folder, name)) if name in present else []
        for name in class_names
    ]
    if not any(files):
        raise ValueError(
            f"The folder must hold folders of {scan.modality.noun}s. "
            f"Received: {printable(folder)} without any"
        )
    return _flatten(files)


def _flatten(files):
    paths = [path for members in files for path in members]
    labels = np.repeat(np.arange(len(files)), [len(members) for members in files])
    return paths, labels
