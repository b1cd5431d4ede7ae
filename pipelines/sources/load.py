"""Sources by name, as given on a command line."""

import contextlib

from pipelines.checks import check_choice
from pipelines.sources.builtin import load_builtin
from pipelines.sources.folder import load_folder
from pipelines.sources.modalities import find_modality
from pipelines.sources.records import load_records
from pipelines.sources.source import SPLITS
from pipelines.sources.splits import NoSuchSplit, SplitRule
from pipelines.sources.tfds import load_tfds


def load_source(
    spec,
    split,
    *,
    modality="image",
    seed=0,
    validation_fraction=0.1,
    test_fraction=0.2,
    data_dir=None,
):
    """Loads one split of a labelled data set by its name.

    The splits are disjoint and together complete, and with the same seed and
    fractions they are always the same, in the same order.

    Args:
        spec: "builtin:NAME", "folder:PATH", "tfds:NAME" or "tfrecord:GLOB". A folder
            holds class folders, or a file labels.csv.
        split: "train", "validation" or "test".
        modality: str, the kind of data, a key of `MODALITIES`.
        seed: int in [0, 2**32), for splits drawn at random.
        validation_fraction: float in [0, 1), the part of the training examples that
            makes up the validation, where the data set names none.
        test_fraction: float in [0, 1), the part of all examples that makes up the
            test, where the data set names none.
        data_dir: path of the prepared data of TensorFlow Datasets.

    Returns:
        A `Source`.

    Raises:
        ValueError: if an argument is wrong or the data cannot be used.
        ImportError: if a package that the data set needs is not installed.
    """
    check_choice("split", split, SPLITS)
    find_modality(modality)
    rule = SplitRule(seed, validation_fraction, test_fraction)
    kind, _, name = str(spec).partition(":")
    if kind not in ("builtin", "folder", "tfds", "tfrecord") or not name:
        raise ValueError(
            "`spec` must be 'builtin:NAME', 'folder:PATH', 'tfds:NAME' or "
            f"'tfrecord:GLOB'. Received: spec={spec!r}"
        )
    if kind == "builtin":
        return load_builtin(name, split, rule, modality)
    if kind == "folder":
        return load_folder(name, split, rule, modality)
    if kind == "tfrecord":
        return load_records(name, split, rule, modality)
    return load_tfds(name, split, rule, modality, data_dir)


def load_own_splits(spec, *, modality="image", data_dir=None):
    """Loads all of a labelled data set, in the splits that it has itself.

    Args:
        spec, modality, data_dir: as for `load_source`.

    Returns:
        Dict from the names of splits to `Source`; that of "train" alone where the data
        set is not divided.

    Raises:
        ValueError, ImportError: as `load_source`.
    """
    own = {}
    for split in SPLITS:
        with contextlib.suppress(NoSuchSplit):
            own[split] = load_source(
                spec,
                split,
                modality=modality,
                validation_fraction=0,
                test_fraction=0,
                data_dir=data_dir,
            )
    return own
