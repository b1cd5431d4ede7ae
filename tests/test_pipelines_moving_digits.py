"""Moving digits: every clip is a digit that moves as its label says."""

import numpy as np
import pytest

from pipelines.sources import load_source, moving_digits
from pipelines.sources.mnist5k import split_digits
from pipelines.sources.splits import SplitRule


@pytest.fixture(scope="module")
def clips():
    def load(split):
        source = load_source("builtin:moving_digits", split, modality="video")
        (batch,) = source.dataset.batch(source.num_items).as_numpy_iterator()
        assert batch["video"].dtype == np.uint8
        assert batch["video"].shape == (source.num_items, 8, 32, 32, 1)
        assert source.classes == tuple(moving_digits.DIRECTIONS)
        return batch

    return {split: load(split) for split in ("train", "validation", "test")}


def test_sizes_and_balance(clips):
    assert {split: len(batch["label"]) for split, batch in clips.items()} == {
        "train": 3600,
        "validation": 400,
        "test": 1000,
    }
    assert set(np.bincount(clips["test"]["label"])) == {125}
    assert set(np.bincount(clips["validation"]["label"])) == {50}
    assert np.ptp(np.diff(clips["train"]["label"])) > 0  # Not sorted.


def test_digits_move_as_labelled_and_wrap_around(clips):
    for batch in clips.values():
        speeds = []
        for clip, label in zip(batch["video"], batch["label"], strict=True):
            move = list(moving_digits.DIRECTIONS.values())[label]
            fits = [
                speed
                for speed in range(-3, 4)
                if np.array_equal(
                    np.roll(clip[:-1], np.multiply(move, speed), axis=(1, 2)), clip[1:]
                )
            ]
            assert len(fits) == 1
            speeds += fits
        assert set(speeds) == {1, 2, 3}


def test_one_frame_tells_nothing(clips):
    """Over the clips of each direction, every place is as bright as any other."""
    batch = clips["train"]
    means = [
        batch["video"][batch["label"] == label, 0].mean(axis=0) for label in range(8)
    ]
    spread = np.std(means, axis=(1, 2)) / np.mean(means)
    assert spread.max() < 0.2


def test_test_digits_are_those_of_mnist5k(clips):
    """A digit that moves keeps its histogram of greys."""

    def histograms(images):
        images = images.reshape(len(images), -1)
        return {tuple(np.bincount(image, minlength=256)[1:]) for image in images}

    rule = SplitRule(validation_fraction=0)
    own = {split: histograms(batch["video"][:, 0]) for split, batch in clips.items()}
    for split, digits in (("test", own["test"]), ("train", own["train"])):
        assert digits <= histograms(split_digits(split, rule)[0])
    assert own["validation"] <= histograms(split_digits("train", rule)[0])
    assert own["train"].isdisjoint(own["test"] | own["validation"])


def test_the_test_is_the_same_whatever_the_run(clips):
    other = load_source(
        "builtin:moving_digits",
        "test",
        modality="video",
        seed=7,
        validation_fraction=0.3,
    )
    videos = [item["video"] for item in other.dataset.as_numpy_iterator()]
    np.testing.assert_array_equal(videos, clips["test"]["video"])


def test_it_is_no_source_of_images():
    with pytest.raises(ValueError, match="is of modality 'video'"):
        load_source("builtin:moving_digits", "test")
