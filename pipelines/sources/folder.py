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
    validation folder beside a `test`, else a stratified part of `train`. The same
    holds where each class folder has these folders, as those of ModelNet40. Otherwise
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
        """Sorted paths of the files of the modality in `folder` and below."""
        files = []
        for entry in _visible_entries(folder):
            is_fit = entry.name.lower().endswith(self.modality.suffixes)
            # A link to a folder may lead back here.
            if entry.is_dir(follow_symlinks=False):
                files += self.files(entry.path)
            elif entry.is_file() and is_fit:
                files.append(entry.path)
            else:
                self.ignored.append(entry.path)
        return files

    def warn_of_ignored(self, root):
        """Warns once of all files and folders that are of no use."""
        ignored = list(dict.fromkeys(self.ignored))
        if not ignored:
            return
        first = ", ".join(printable(os.path.relpath(p, root)) for p in ignored[:3])
        warnings.warn(
            f"Ignored {len(ignored)} entries of {printable(root)} that are no "
            f"{self.modality.noun}s, such as: {first}",
            stacklevel=4,
        )


@dataclasses.dataclass(frozen=True)
class _Part:
    """Where the files of a split are: in PATH/CLASS, or in PATH/CLASS/INNER.

    Attributes:
        path: bytes, path of the folder of class folders.
        inner: bytes, the folder within each class folder; empty for none.
    """

    path: bytes
    inner: bytes = b""

    def of_class(self, name):
        """Path of the folder of a class's files."""
        folder = os.path.join(self.path, name)
        return os.path.join(folder, self.inner) if self.inner else folder


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
    """Returns a `_Part` of train, validation and test; None for a missing one."""
    entries = [entry for entry in _visible_entries(root) if entry.is_dir()]
    inside = {
        entry.name: {e.name for e in _visible_entries(entry.path) if e.is_dir()}
        for entry in entries
    }
    # With files directly inside, `train` is just the class of trains.
    found = {e.name.lower(): e.path for e in entries if inside[e.name]}
    train, validation, test = _choose_parts(found)
    if train is not None:
        used = (train, validation, test)
        scan.ignored += [e.path for e in _visible_entries(root) if e.path not in used]
        return tuple(None if path is None else _Part(path) for path in used)
    # All classes have a train part; in another a class may be missing.
    names = _choose_parts({name: name for name in set().union(*inside.values())})
    if names[0] is None or not all(names[0] in parts for parts in inside.values()):
        return _Part(root), None, None
    for entry in entries:
        within = _visible_entries(entry.path)
        scan.ignored += [e.path for e in within if e.name not in names]
    return tuple(None if name is None else _Part(root, name) for name in names)


def _choose_parts(found):
    """The values of train, validation and test, or `None` for each that is missing.

    Without a train part, or any other beside it, all are missing.
    """
    train, test = found.get(b"train"), found.get(b"test")
    validation = next((found[n] for n in _VALIDATION_NAMES if n in found), None)
    if train is None or (validation is None and test is None):
        return None, None, None
    return train, validation, test


def _read_training_folder(scan, part):
    """Returns class names (bytes), paths (bytes) and labels, int64 (N,)."""
    folder = part.path
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
    files = [scan.files(part.of_class(name)) for name in class_names]
    for name, members in zip(class_names, files, strict=True):
        if not members:
            noun, formats = scan.modality.noun, scan.modality.formats
            raise ValueError(
                f"Each class folder must hold files of {noun}s ({formats}). "
                f"Received: {printable(part.of_class(name))} without any"
            )
    return class_names, *_flatten(files)


def _read_held_out_folder(scan, part, class_names):
    """Returns paths (bytes) and labels, int64 (N,); a class may be missing."""
    folder = part.path
    present = scan.folders(folder)
    unknown = sorted(set(present) - set(class_names))
    if unknown:
        raise ValueError(
            "Each class must have a folder in the training data as well. "
            f"Received: {printable(os.path.join(folder, unknown[0]))} without one"
        )
    folders = [part.of_class(name) for name in class_names]
    files = [scan.files(path) if os.path.isdir(path) else [] for path in folders]
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
