"""Stratified, reproducible splits into train, validation and test."""

import dataclasses

import numpy as np

from pipelines.checks import check_range, check_seed


@dataclasses.dataclass(frozen=True)
class SplitRule:
    """How a data set without splits of its own is divided.

    Attributes:
        seed: int in [0, 2**32).
        validation_fraction: float in [0, 1), the part of the training examples set
            aside for validation.
        test_fraction: float in [0, 1), the part of all examples set aside for the
            test, where the data set names no test split.

    Raises:
        ValueError: if a value is out of its range.
    """

    seed: int = 0
    validation_fraction: float = 0.1
    test_fraction: float = 0.2

    def __post_init__(self):
        check_seed(self.seed)
        for field in ("validation_fraction", "test_fraction"):
            check_range(0, 1, **{field: getattr(self, field)})


class NoSuchSplit(ValueError):
    """A split that a data set does not name, and of which the rule makes no part."""


def held_out_count(num_items, fraction, what):
    """Number of items to set aside: rounded, but never none and never all.

    Args:
        num_items: int, the number of items to divide.
        fraction: float in [0, 1); 0 sets none aside.
        what: str, what the message calls the items.

    Returns:
        int.

    Raises:
        ValueError: if too few items are there to divide.
    """
    if not fraction:
        return 0
    count = max(1, int(num_items * fraction + 0.5))
    if count >= num_items:
        raise ValueError(
            f"{what} has too few examples to set a fraction of {fraction} aside. "
            f"Received: {num_items} to divide"
        )
    return count


def stratified_split(labels, split, rule, classes):
    """Chooses the examples of one split, class by class.

    The test is taken out of all examples first, then the validation out of what is
    left, so the three are disjoint and together complete.

    Args:
        labels: integer array of shape (N,), values in [0, len(classes)).
        split: "train", "validation" or "test".
        rule: `SplitRule`.
        classes: sequence of str, for messages.

    Returns:
        int64 array of positions in `labels`: sorted, except that "train" comes in
        random order, so that no part of it holds a single class.

    Raises:
        NoSuchSplit: if the rule leaves the split empty.
        ValueError: if a class is too small.
    """
    fraction = {
        "validation": rule.validation_fraction,
        "test": rule.test_fraction,
    }.get(split)
    if fraction == 0:
        raise NoSuchSplit(
            f"`{split}_fraction` must be above 0 to ask for the {split} split. "
            f"Received: {split}_fraction={fraction!r}"
        )
    labels = np.asarray(labels)
    # RandomState rather than default_rng: its streams stay the same in every
    # release of NumPy, and so do the splits.
    rest = np.arange(len(labels))
    rest, test = _set_aside(
        rest, labels, rule.test_fraction, np.random.RandomState([rule.seed, 0]), classes
    )
    rest, validation = _set_aside(
        rest,
        labels,
        rule.validation_fraction,
        np.random.RandomState([rule.seed, 1]),
        classes,
    )
    if split == "train":
        return np.random.RandomState([rule.seed, 2]).permutation(rest)
    return validation if split == "validation" else test


def random_split(num_items, split, rule):
    """Chooses the examples of one split, whatever their labels are.

    Args:
        num_items: int, N.
        split: "train", "validation" or "test".
        rule: `SplitRule`.

    Returns:
        int64 array of positions in [0, N): sorted, except that "train" comes in
        random order.

    Raises:
        NoSuchSplit: if the rule leaves the split empty.
        ValueError: if there are too few examples.
    """
    return stratified_split(np.zeros(num_items, int), split, rule, ("all",))


def grouped_split(groups, split, rule):
    """Chooses the examples of one split, group by group: none is in two splits.

    Args:
        groups: integer array of shape (N,), such as the speaker of each sound.
        split: "train", "validation" or "test".
        rule: `SplitRule`, whose fractions are those of groups.

    Returns:
        int64 array of positions in `groups`: sorted, except that "train" comes in
        random order.

    Raises:
        NoSuchSplit: if the rule leaves the split empty.
        ValueError: if there are too few groups.
    """
    groups = np.asarray(groups)
    members = np.unique(groups)
    # Each group is an example of the one class of all groups.
    chosen = stratified_split(np.zeros(len(members), int), split, rule, ("groups",))
    (positions,) = np.nonzero(np.isin(groups, members[chosen]))
    if split == "train":
        return np.random.RandomState([rule.seed, 3]).permutation(positions)
    return positions


def _set_aside(positions, labels, fraction, random_state, classes):
    """Divides sorted positions into (rest, set aside), each of them sorted."""
    chosen = []
    for label, class_name in enumerate(classes):
        members = positions[labels[positions] == label]
        if not len(members):
            continue
        count = held_out_count(len(members), fraction, f"Class {class_name!r}")
        chosen.append(random_state.permutation(members)[:count])
    aside = np.sort(np.concatenate(chosen))
    return np.setdiff1d(positions, aside, assume_unique=True), aside
