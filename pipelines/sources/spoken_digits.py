"""Spoken digits, synthetic: the words "zero" to "nine" in the voices of eSpeak NG.

Each of 104 voice variants says each word three times, at random speeds and pitches, at
a random time within a second: 3,120 sounds. What is tested is whether words are known
from speakers never heard.
"""

import dataclasses
import functools

import numpy as np

from pipelines.audio_files import resample
from pipelines.sources import espeak
from pipelines.sources.source import source_from_columns
from pipelines.sources.splits import grouped_split

CLASSES = (
    *("zero", "one", "two", "three", "four"),
    *("five", "six", "seven", "eight", "nine"),
)
RATE = 8000  # Samples per second, as of a telephone.
NUM_RENDERINGS = 3
NUM_SAMPLES = RATE  # One second; the longest word takes 0.84 of it.
WORDS_PER_MINUTE = (130, 250)
PITCHES = (20, 80)
# One split for everybody, whatever the seed of a run: a fifth of the speakers, drawn
# with this seed, is the test.
FIXED_SPLIT = {"seed": 0, "test_fraction": 0.2}
# Voices that sound alike count as one speaker, so that no part of the data has a twin
# of another's: those whose spectra of all ten words differ by less than 0.3 nepers,
# root mean square, where to the nearest other voice it is 0.42 in the median.
_SPEAKERS = (
    ("Diogo", "Henrique", "Hugo", "michel", "miguel"),
    ("Gene", "Gene2"),
    ("adam", "benjamin", "edward2", "klatt6"),
    ("anika", "anikaRobot"),
    ("edward", "klatt4", "klatt5"),
    ("fast", "m6"),
    ("iven2", "iven3"),
    ("klatt", "klatt2"),
    ("robosoft2", "robosoft3"),
    ("robosoft4", "robosoft5", "robosoft7"),
    ("steph", "steph2", "steph3"),
)


def load(split, rule):
    """Loads one split of the synthetic spoken digits: 8,000 samples at 8 kHz each.

    Args:
        split: "train", "validation" or "test". No speaker is in two of them.
        rule: `SplitRule`, of which only `validation_fraction` counts, since the
            test is fixed.

    Returns:
        A `Source` of sounds.

    Raises:
        ImportError: if espeakng-loader is not installed.
    """
    sounds, labels = split_sounds(split, rule)
    rates = np.full(len(labels), RATE, np.int32)
    return source_from_columns(
        {"audio": sounds, "rate": rates},
        labels,
        classes=CLASSES,
        name="builtin:spoken_digits",
    )


def split_sounds(split, rule):
    """The sounds of one split.

    Args:
        split, rule: as for `load`.

    Returns:
        Pair of sounds, float32 (N, 8000), and their labels, int64 (N,).

    Raises:
        ImportError: if espeakng-loader is not installed.
    """
    sounds, labels, speakers = _speak()
    rule = dataclasses.replace(rule, **FIXED_SPLIT)
    chosen = grouped_split(speakers, split, rule)
    return sounds[chosen], labels[chosen]


@functools.cache  # A few seconds' work and 100 MB, for all splits.
def _speak():
    """Returns sounds, float32 (3120, 8000), and int64 labels and speakers, (3120,)."""
    voices = espeak.voice_variants()
    number = {voice: position for position, voice in enumerate(voices)}
    for twins in _SPEAKERS:
        number |= {voice: number[twins[0]] for voice in twins}
    items = [
        (voice, label)
        for voice in voices
        for label in range(len(CLASSES))
        for _ in range(NUM_RENDERINGS)
    ]
    # RandomState rather than default_rng: its streams stay the same in every release.
    random = np.random.RandomState(0)
    speeds = random.randint(*WORDS_PER_MINUTE, size=len(items)).tolist()
    pitches = random.randint(*PITCHES, size=len(items)).tolist()
    buffers, rate = espeak.synthesize(
        (CLASSES[label], voice, speed, pitch)
        for (voice, label), speed, pitch in zip(items, speeds, pitches, strict=True)
    )
    sounds = np.zeros((len(items), NUM_SAMPLES), np.float32)
    for sound, buffer in zip(sounds, buffers, strict=True):
        word = np.frombuffer(buffer, np.int16) / np.float32(2**15)
        # The filter overshoots where loud voices are clipped.
        word = resample(word, rate, RATE)[:NUM_SAMPLES].clip(-1, 1)
        start = random.randint(NUM_SAMPLES - len(word) + 1)
        sound[start : start + len(word)] = word
    labels = np.array([label for _, label in items])
    speakers = np.array([number[voice] for voice, _ in items])
    return sounds, labels, speakers
