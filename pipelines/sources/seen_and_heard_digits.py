"""Digits seen and heard, made: neither the picture nor the voice is enough alone.

Each second shows a handwritten digit of MNIST-5k in 8 frames while a synthetic voice
says it. The picture trembles and has lost most of its pixels, the same in all frames;
the sound is as loud as the noise in it. A digit to train with is shown and said several
times over, each time by another voice and with other losses.
"""

import numpy as np

from pipelines.sources import mnist5k, spoken_digits
from pipelines.sources.source import SPLITS, source_from_columns

NUM_FRAMES = 8
SIZE = 32
NUM_RENDERINGS = {"train": 3, "validation": 1, "test": 1}
PIXEL_DROPOUT = 0.65
SIGNAL_TO_NOISE = 0.0  # Decibels.


def load(split, rule):
    """Loads one split: three clips of each training digit of MNIST-5k, one of others.

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
    # All digits once, then all of them again.
    images = np.concatenate([images] * NUM_RENDERINGS[split])
    labels = np.concatenate([labels] * NUM_RENDERINGS[split])
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


def degrade_pictures(images, random):
    """Makes videos that tremble, of images that lose most of their pixels.

    Args:
        images: uint8 array (N, 28, 28).
        random: `np.random.RandomState`.

    Returns:
        uint8 array (N, 8, 32, 32, 1).
    """
    count, side = images.shape[:2]
    kept = images * (random.random_sample(images.shape) >= PIXEL_DROPOUT)
    margin = SIZE - side
    starts = random.randint(margin + 1, size=(2, count, NUM_FRAMES, 1))
    # The pixel at place p of a frame is at p - start of the image, or is its margin.
    rows, columns = np.arange(SIZE) - starts
    canvas = np.pad(kept.astype(np.uint8), ((0, 0), (0, margin), (0, margin)))
    frames = canvas[
        np.arange(count)[:, None, None, None], rows[..., None], columns[..., None, :]
    ]
    return frames[..., None]


def degrade_sounds(sounds, random):
    """Adds white noise as loud as the sound, and keeps the peak at 1.

    Args:
        sounds: float32 array (N, samples).
        random: `np.random.RandomState`.

    Returns:
        float32 array (N, samples).
    """
    loudness = np.sqrt(np.mean(sounds**2, axis=1, keepdims=True))
    noise = random.standard_normal(sounds.shape) * loudness
    mixed = sounds + noise * 10 ** (-SIGNAL_TO_NOISE / 20)
    return (mixed / np.abs(mixed).max(axis=1, keepdims=True)).astype(np.float32)
