"""Digits seen and heard, made: neither the picture nor the voice is enough alone.

Each second shows a handwritten digit of MNIST-5k in 8 frames while a synthetic voice
says it. The picture has lost most of its pixels, the same in all frames but for their
jitter, and the sound is as loud as the noise in it.
"""

import numpy as np

from pipelines.sources import mnist5k, spoken_digits
from pipelines.sources.source import SPLITS, source_from_columns

NUM_FRAMES = 8
SIZE = 32
PIXEL_DROPOUT = 0.65
SIGNAL_TO_NOISE = 0.0  # Decibels.


def load(split, rule):
    """Loads one split of 5,000 clips, one of each digit of MNIST-5k.

    The test shows the test digits of MNIST-5k in the voices of the test speakers of
    the spoken digits, and the validation likewise.

    Args:
        split: "train", "validation" or "test". No digit and no speaker is in two.
        rule: `SplitRule`, of which only `validation_fraction` counts, since the test
            is fixed.

    Returns:
        A `Source` of uint8 videos (8, 32, 32, 1) with 8,000 samples of sound.

    Raises:
        ImportError: if a package that ships the digits or the voices is missing.
    """
    images, labels = mnist5k.split_digits(split, rule)
    sounds, words = spoken_digits.split_sounds(split, rule)
    random = np.random.RandomState([1, SPLITS.index(split)])
    heard = [random.choice(np.flatnonzero(words == label)) for label in labels]
    return source_from_columns(
        {
            "video": degrade_pictures(images, random),
            "audio": degrade_sounds(sounds[heard], random),
            "rate": np.full(len(labels), spoken_digits.RATE, np.int32),
        },
        labels,
        classes=mnist5k.CLASSES,
        name="builtin:seen_and_heard_digits",
    )
