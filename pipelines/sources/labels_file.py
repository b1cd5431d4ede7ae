"""Files on disk whose labels a file `labels.csv` lists, one or several each."""

import collections
import csv
import dataclasses
import os
import warnings

import numpy as np

from pipelines.sources.paths import printable
from pipelines.sources.source import SPLITS, source_from_columns
from pipelines.sources.splits import random_split, stratified_split

LABELS_FILE = b"labels.csv"
_COLUMNS = ("file", "labels")
_SPLIT_COLUMN = "split"
_SEPARATOR = ";"


@dataclasses.dataclass(frozen=True)
class _Row:
    """What a line says: a path, its labels, and the split that it belongs to."""

    path: bytes
    labels: frozenset[str]
    split: str | None
    line: int


def load_labels_file(root, split, rule, modality):
    """Loads one split of a folder with a file `labels.csv`.

    The file's first line is `file,labels` or `file,labels,split`. Each other line
    names a file, by its path from the folder; its labels, separated by `;`; and,
    where there is that column, its split: train, validation or test.

    If any file has several labels, the data is multi-label, and a file without any
    has none of the classes. Otherwise each file must have its one label.

    With a column `split`, its lines make up the splits; if there is none of the test,
    those of the validation are the test, and the validation is a part of those of the
    training, as it also is where the file names no validation. Without that column,
    all three are parts of all files. Parts are stratified by class, but those of
    multi-label data are drawn at random.

    Args:
        root: bytes, path of the folder.
        split: "train", "validation" or "test".
        rule: `SplitRule`.
        modality: `Modality` of the files.

    Returns:
        A `Source` of paths, whose classes are the sorted labels.

    Raises:
        ValueError: if the file cannot be understood, names files that are not there,
            or too few.
    """
    rows = _read(root)
    _check_files(rows, root, modality)
    classes = sorted(set().union(*(row.labels for row in rows)))
    multi_label = any(len(row.labels) > 1 for row in rows)
    _check_labels(rows, classes, multi_label, root)
    rows_of = _rows_of_splits(rows, root)
    _check_classes_of_training(rows_of, classes, root)
    chosen = _choose(rows_of, split, rule, classes, multi_label)
    labels = _vectors(chosen, classes) if multi_label else _numbers(chosen, classes)
    if multi_label and split == "train":
        _warn_of_absent(labels, classes, root)
    return source_from_columns(
        {"path": [row.path for row in chosen]},
        labels,
        classes=[printable(os.fsencode(name)) for name in classes],
        name=f"folder:{printable(root)}",
    )


def _choose(rows_of, split, rule, classes, multi_label):
    """The rows of a split: those of the file, or a part of those of the training."""
    if split != "train" and split in rows_of:
        return rows_of[split]
    given = {f"{name}_fraction": 0 for name in rows_of if name != "train"}
    rule = dataclasses.replace(rule, **given)
    rows = rows_of["train"]
    if multi_label:
        positions = random_split(len(rows), split, rule)
    else:
        positions = stratified_split(_numbers(rows, classes), split, rule, classes)
    return [rows[position] for position in positions]


def _numbers(rows, classes):
    """The number of the one label of each row, int (n,)."""
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[name] for row in rows for name in row.labels])


def _vectors(rows, classes):
    """The labels of each row as 0 and 1, uint8 (n, E)."""
    number = {name: i for i, name in enumerate(classes)}
    vectors = np.zeros((len(rows), len(classes)), np.uint8)
    for vector, row in zip(vectors, rows, strict=True):
        vector[[number[name] for name in row.labels]] = 1
    return vectors


def _place(root, line=None):
    """The file, and a line of it, for messages."""
    file = printable(os.path.join(root, LABELS_FILE))
    return file if line is None else f"{file}, line {line}"


def _read(root):
    """The rows of the file, in its order."""
    # Names of files may be of any bytes; a byte order mark comes from spreadsheets.
    with open(
        os.path.join(root, LABELS_FILE),
        newline="",
        encoding="utf-8-sig",
        errors="surrogateescape",
    ) as file:
        reader = csv.reader(file, skipinitialspace=True)
        try:
            lines = [(reader.line_num, line) for line in reader if any(line)]
        except csv.Error as error:
            raise ValueError(
                f"The file must be comma-separated values ({error}). "
                f"Received: {_place(root, reader.line_num)}"
            ) from None
    header = [name.strip() for name in lines[0][1]] if lines else []
    known = (*_COLUMNS, _SPLIT_COLUMN)
    if (
        len(set(header)) != len(header)
        or not set(_COLUMNS) <= set(header)
        or not set(header) <= set(known)
    ):
        raise ValueError(
            "The first line of `labels.csv` must name the columns `file` and `labels`, "
            "perhaps `split`, and no others; a file of another kind needs another "
            f"name. Received: {_place(root)} with the columns {header}"
        )
    if len(lines) == 1:
        raise ValueError(
            f"`labels.csv` must name files. Received: {_place(root)} without any"
        )
    return [_parse(line, header, number, root) for number, line in lines[1:]]


def _parse(values, header, line, root):
    if len(values) != len(header):
        raise ValueError(
            f"Each line must have {len(header)} values, as the first one has. "
            f"Received: {_place(root, line)} with {len(values)}"
        )
    row = {name: value.strip() for name, value in zip(header, values, strict=True)}
    if not row["file"]:
        raise ValueError(
            f"Each line must name a file. Received: {_place(root, line)} without one"
        )
    labels = [label.strip() for label in row["labels"].split(_SEPARATOR)]
    if labels != [""] and "" in labels:
        raise ValueError(
            f"Labels must not be empty; {_SEPARATOR!r} separates them. "
            f"Received: {_place(root, line)} with {row['labels']!r}"
        )
    split = None
    if _SPLIT_COLUMN in row:
        split = {"val": "validation", "valid": "validation"}.get(
            row[_SPLIT_COLUMN].lower(), row[_SPLIT_COLUMN].lower()
        )
        if split not in SPLITS:
            raise ValueError(
                f"`split` must be one of {', '.join(map(repr, SPLITS))}. "
                f"Received: {_place(root, line)} with {row[_SPLIT_COLUMN]!r}"
            )
    path = os.path.normpath(os.path.join(root, os.fsencode(row["file"])))
    return _Row(path, frozenset(filter(None, labels)), split, line)


def _check_files(rows, root, modality):
    """Raises unless each row has a file of its own; warns of files without a row."""
    first = {}
    for row in rows:
        if row.path in first:
            raise ValueError(
                "Each file must be named once. Received: "
                f"{_place(root, row.line)} with {printable(row.path)!r}, which line "
                f"{first[row.path]} has already"
            )
        first[row.path] = row.line
        if not row.path.lower().endswith(modality.suffixes):
            raise ValueError(
                f"Each file must be of {modality.noun}s ({modality.formats}). "
                f"Received: {_place(root, row.line)} with {printable(row.path)!r}"
            )
        if not os.path.isfile(row.path):
            raise ValueError(
                "Each file must be there, by its path from the folder. "
                f"Received: {_place(root, row.line)} with {printable(row.path)!r}"
            )
    unlabelled = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(b".")]
        paths = [
            os.path.normpath(os.path.join(folder, name))
            for name in names
            if name.lower().endswith(modality.suffixes) and not name.startswith(b".")
        ]
        unlabelled += [path for path in paths if path not in first]
    if unlabelled:
        warnings.warn(
            f"Ignored {len(unlabelled)} {modality.noun}s that {_place(root)} does not "
            f"name, such as: {printable(os.path.relpath(min(unlabelled), root))}",
            stacklevel=4,
        )


def _check_labels(rows, classes, multi_label, root):
    """Raises unless there are classes to tell apart, and each file has its label."""
    if len(classes) < 2:
        raise ValueError(
            "The file must have at least two different labels. "
            f"Received: {_place(root)} with {classes}"
        )
    unlabelled = [] if multi_label else [row for row in rows if not row.labels]
    if unlabelled:
        raise ValueError(
            "Each file must have a label, unless some have several. Received: "
            f"{_place(root, unlabelled[0].line)} without one"
        )


def _rows_of_splits(rows, root):
    """The rows by split, those of "train" always; a split to be drawn has none."""
    rows_of = collections.defaultdict(list)
    for row in rows:
        rows_of[row.split or "train"].append(row)
    if "train" not in rows_of:
        raise ValueError(
            f"Some files must be of the split 'train'. Received: {_place(root)} "
            "without any"
        )
    if "validation" in rows_of and "test" not in rows_of:
        rows_of["test"] = rows_of.pop("validation")
    return dict(rows_of)


def _check_classes_of_training(rows_of, classes, root):
    """Raises where a label is given to other splits alone, and cannot be learned."""
    trained = set().union(*(row.labels for row in rows_of["train"]))
    unknown = [name for name in classes if name not in trained]
    if unknown:
        name = printable(os.fsencode(unknown[0]))
        raise ValueError(
            "Each label must be in the training data as well. "
            f"Received: {_place(root)} with {name!r} in other splits alone"
        )


def _warn_of_absent(labels, classes, root):
    """Warns of labels that the draw has left without an example in training."""
    absent = [
        name
        for name, count in zip(classes, labels.sum(axis=0), strict=True)
        if not count
    ]
    if absent:
        name = printable(os.fsencode(absent[0]))
        warnings.warn(
            f"{len(absent)} labels of {_place(root)} are too rare to be in the "
            f"training data, such as: {name!r}",
            stacklevel=4,
        )
