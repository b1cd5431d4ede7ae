"""Digits that move: videos made from real handwriting, to learn motion from.

Each clip shows one digit of MNIST-5k that moves steadily in one of 8 directions on a
torus: what leaves the frame on one side enters on the other. Every place is as likely
at every time, so that no single frame tells the direction; only the change does.
"""

import dataclasses

import numpy as np

from pipelines.sources.mnist5k import split_digits
from pipelines.sources.source import source_from_columns
from pipelines.sources.splits import stratified_split

# Moves (down, right) in one time step of each class.
DIRECTIONS = {
    "right": (0, 1),
    "down-right": (1, 1),
    "down": (1, 0),
    "down-left": (1, -1),
    "left": (0, -1),
    "up-left": (-1, -1),
    "up": (-1, 0),
    "up-right": (-1, 1),
}
NUM_FRAMES = 8
SIZE = 32
MAX_SPEED = 3  # Pixels a frame.


def load(split, rule):
    """Loads one split of 5,000 clips, one of each digit of MNIST-5k.

    The 1,000 clips of the test show the test digits of MNIST-5k, and the others its
    other digits, whatever the seed of a run.

    Args:
        split: "train", "validation" or "test".
        rule: `SplitRule`, of which only `validation_fraction` counts.

    Returns:
        A `Source` of uint8 videos (8, 32, 32, 1), labelled with their direction.

    Raises:
        ImportError: if the package that ships the digits is not installed.
    """
    is_test = split == "test"
    rule = dataclasses.replace(rule, seed=0, test_fraction=0)
    # MNIST-5k's own test digits; its others are divided by the direction they take.
    everything = dataclasses.replace(rule, validation_fraction=0)
    digits, _ = split_digits("test" if is_test else "train", everything)
    classes = tuple(DIRECTIONS)
    clips, labels = move(digits, np.random.RandomState([0, is_test]))
    if not is_test:
        chosen = stratified_split(labels, split, rule, classes)
        clips, labels = clips[chosen], labels[chosen]
    return source_from_columns(
        {"video": clips},
        labels,
        classes=classes,
        name="builtin:moving_digits",
    )


def move(digits, random):
    """Lets each digit move, from a random place, at a random speed.

    Args:
        digits: uint8 array (N, 28, 28).
        random: `np.random.RandomState`.

    Returns:
        Pair of clips, uint8 (N, 8, 32, 32, 1), and labels, int64 (N,), which number
        `DIRECTIONS`, each as often as the others.
    """
    count = len(digits)
    labels = random.permutation(count) % len(DIRECTIONS)
    starts = random.randint(SIZE, size=(count, 1, 2))
    speeds = random.randint(1, MAX_SPEED + 1, size=(count, 1, 1))
    moves = np.array(list(DIRECTIONS.values()))[labels][:, None]
    times = np.arange(NUM_FRAMES)[None, :, None]
    rows, columns = np.moveaxis(starts + times * speeds * moves, 2, 0)

    margin = SIZE - digits.shape[1]
    canvas = np.pad(digits, ((0, 0), (0, margin), (0, margin)))
    # The pixel at place p at time t was at p - move of t on the canvas.
    rows = (np.arange(SIZE) - rows[..., None]) % SIZE
    columns = (np.arange(SIZE) - columns[..., None]) % SIZE
    clips = canvas[
        np.arange(count)[:, None, None, None], rows[..., None], columns[..., None, :]
    ]
    return clips[..., None], labels
