"""The recipe of sounds, and the spoken digits."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest
import tensorflow as tf

from pipelines.audio import AudioRecipe
from pipelines.recipes import find_recipe, load_recipe, save_recipe
from pipelines.sources import SPLITS, espeak, load_source, spoken_digits
from pipelines.sources.splits import SplitRule, grouped_split
from sound_files import encode_sound, tone

WAVE = AudioRecipe(rate=4000, num_samples=1000)
MEL = AudioRecipe(
    rate=4000,
    num_samples=1000,
    representation="mel",
    num_mel_bins=16,
    frame_length=100,
    frame_step=40,
    mel_mean=-2.0,
    mel_std=2.0,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Low and high tones, of 0.2 to 0.34 seconds, in files of several kinds."""
    folder = tmp_path_factory.mktemp("sounds")
    kinds = [("wav", "pcm_s16le"), ("flac", "flac"), ("mp3", "libmp3lame")]
    for name, frequency in (("low", 300.0), ("high", 1200.0)):
        (folder / name).mkdir()
        for number in range(8):
            file_format, codec = kinds[number % 3]
            rate = 8000 if number % 2 else 16000
            sound = tone(rate, 0.2 + 0.02 * number, frequency)
            path = folder / name / f"{number}.{file_format}"
            path.write_bytes(encode_sound(sound, rate, file_format, codec))
    return folder


def source_of(folder, split="train"):
    return load_source(f"folder:{folder}", split, modality="audio")


def test_fields_are_found_from_the_sounds(folder):
    recipe = AudioRecipe.from_source(source_of(folder))
    assert (recipe.rate, recipe.representation) == (8000, "wave")
    assert 0.3 < recipe.num_samples / 8000 < 0.45
    mel = AudioRecipe.from_source(source_of(folder), representation="mel")
    assert (mel.num_mel_bins, mel.frame_step, mel.frame_length) == (40, 80, 200)
    (batch, _), *_ = mel.eval_dataset(source_of(folder), batch_size=16)
    assert batch.shape[1:] == (mel.num_frames, 40)
    assert abs(np.mean(batch)) < 0.05 and abs(np.std(batch) - 1) < 0.05
    given = AudioRecipe.from_source(
        source_of(folder), rate=4000, num_samples=1000, num_mel_bins=None
    )
    assert given == WAVE
    long = {"rate": 4000, "num_samples": 40_000, "representation": "mel"}
    assert AudioRecipe.from_source(source_of(folder), **long).num_frames == 128


@pytest.mark.parametrize("recipe", [WAVE, MEL], ids=["wave", "mel"])
@pytest.mark.parametrize("cache", [False, True])
def test_training_batches(folder, recipe, cache):
    augmentation = {
        "speed": 0.1,
        "shift_seconds": 0.02,
        "gain_db": 6.0,
        "noise_db": 20.0,
    }
    if recipe is MEL:
        augmentation |= {"time_mask": 0.2, "frequency_mask": 0.2}

    def first(seed, **kwargs):
        dataset = recipe.train_dataset(
            source_of(folder), batch_size=4, seed=seed, cache=cache, **kwargs
        )
        return [batch.numpy() for batch, _ in dataset.take(6)]

    plain, augmented = first(0), first(0, **augmentation)
    assert augmented[0].shape == (4, *((25, 16) if recipe is MEL else (1000,)))
    assert augmented[0].dtype == np.float32
    for one, other in zip(augmented, first(0, **augmentation), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(augmented, first(1, **augmentation))
    assert not np.array_equal(augmented, plain)


@pytest.mark.parametrize("recipe", [WAVE, MEL], ids=["wave", "mel"])
def test_preprocess_is_what_evaluation_does(folder, recipe, tmp_path):
    source = source_of(folder, "test")
    ((expected, _),) = recipe.eval_dataset(source, batch_size=100)
    paths = [item["path"].numpy() for item in source.dataset]
    np.testing.assert_allclose(recipe.preprocess(paths), expected, atol=1e-5)
    sound = tone(4000, 0.1)
    (one,), (other,) = recipe.preprocess([sound]), recipe.preprocess([(sound, 4000)])
    np.testing.assert_array_equal(one, other)

    file = tmp_path / "pipeline.json"
    save_recipe(recipe, ["a", "b"], file)
    assert load_recipe(file) == (recipe, ["a", "b"])
    json.loads(file.read_text())


@pytest.mark.parametrize("recipe", [WAVE, MEL], ids=["wave", "mel"])
def test_several_evaluation_clips(folder, recipe):
    recipe = dataclasses.replace(recipe, num_eval_clips=5)
    source = source_of(folder, "test")
    batches = list(recipe.eval_dataset(source, batch_size=10))
    assert [len(labels) for _, labels in batches] == [2] * (source.num_items // 2)
    shape = (25, 16) if recipe.representation == "mel" else (1000,)
    assert batches[0][0].shape == (2, 5, *shape)
    # The five clips overlap, and the third is that of the middle.
    ramp = np.linspace(-1, 1, 3000).astype(np.float32)
    (clips,) = recipe.preprocess([ramp])
    (middle,) = recipe.with_one_clip().preprocess([ramp])
    np.testing.assert_allclose(clips[2], middle, atol=1e-6)
    if recipe.representation == "wave":
        starts = [0, 500, 1000, 1500, 2000]
        for clip, start in zip(clips, starts, strict=True):
            part = ramp[start : start + 1000]
            power = np.sqrt((part**2).mean())
            np.testing.assert_allclose(clip, part / power, atol=1e-5)


def test_broken_files_are_named(folder, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(6):
            sound = encode_sound(tone(8000, 0.1), 8000, "wav", "pcm_s16le")
            (tmp_path / name / f"{number}.wav").write_bytes(sound)
    broken = tmp_path / "a" / "3.wav"
    broken.write_bytes(b"these are words " * 9)
    sentence = rf"Cannot decode sound '{broken}': Invalid data found.*input\.$"
    with pytest.raises(ValueError, match=sentence):
        WAVE.preprocess([str(broken)])
    source = load_source(
        f"folder:{tmp_path}", "train", modality="audio", validation_fraction=0.1
    )
    sources = [load_source(f"folder:{tmp_path}", s, modality="audio") for s in SPLITS]
    (source,) = (
        s for s in sources if str(broken).encode() in [x["path"] for x in s.dataset]
    )
    with pytest.raises(ValueError, match=sentence):
        AudioRecipe.from_source(source)
    with pytest.raises(ValueError, match=sentence), WAVE.readable_errors(source):
        list(WAVE.eval_dataset(source, batch_size=2))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"rate": 0}, "Received: rate=0"),
        ({"num_samples": 1.5}, "Received: num_samples=1.5"),
        ({"num_eval_clips": 0}, "Received: num_eval_clips=0"),
        ({"representation": "mfcc"}, "Received: representation='mfcc'"),
        ({"mu": -1}, "Received: mu=-1"),
        ({"representation": "mel", "num_mel_bins": 8, "mu": 255}, "Received: mu=255"),
        ({"num_mel_bins": 40}, "Waves have no spectrogram"),
        ({"representation": "mel"}, "Received: num_mel_bins=None"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        AudioRecipe(**{"rate": 8000, "num_samples": 8000, **fields})


@pytest.mark.parametrize(
    "recipe, augmentation, message",
    [
        (WAVE, {"speed": 1.0}, "Received: speed=1.0"),
        (WAVE, {"gain_db": -1}, "Received: gain_db=-1"),
        (WAVE, {"noise_db": "a"}, "Received: noise_db='a'"),
        (WAVE, {"time_mask": 0.1}, "are for representation='mel'"),
        (MEL, {"frequency_mask": 1}, "Received: frequency_mask=1"),
    ],
)
def test_bad_augmentation(recipe, augmentation, message):
    with pytest.raises(ValueError, match=message):
        recipe.training_ops(**augmentation)


@pytest.mark.parametrize(
    "item, message",
    [
        (np.zeros((2, 100), np.float32), r"Received: shape=\(2, 100\)"),
        (np.zeros(100, np.int16), "dtype=int16"),
        (np.full(100, 2.0), "values from 2.0 to 2.0"),
        (np.full(100, np.nan), "values from nan to nan"),
        ((np.zeros(100, np.float32), 0), "Received: rate=0"),
    ],
)
def test_bad_items(item, message):
    with pytest.raises(ValueError, match=message):
        WAVE.preprocess([item])


def test_find_recipe():
    assert find_recipe("audio") is AudioRecipe


class TestSpeech:
    utterances = [("one", "Mario", 150, 50), ("two", "Reed", 180, 60)]

    def test_the_same_utterances_have_the_same_samples(self):
        first, rate = espeak.synthesize(self.utterances)
        second, _ = espeak.synthesize(self.utterances)
        assert first == second and rate == 22050
        for samples in first:
            assert 0.1 < len(samples) / 2 / rate < 1.5
            assert np.abs(np.frombuffer(samples, np.int16)).max() > 1000

    def test_a_missing_package_names_the_command(self, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        for use in (espeak.voice_variants, lambda: espeak.synthesize(self.utterances)):
            with pytest.raises(ImportError, match="run: pip install espeakng-loader"):
                use()

    def test_a_failure_is_told(self, monkeypatch):
        monkeypatch.setattr(espeak.sys, "executable", "false")
        with pytest.raises(ImportError, match="eSpeak NG did not speak"):
            espeak.synthesize(self.utterances)


class TestSpokenDigits:
    def test_splits(self):
        sounds = set()
        for split, count in (("train", 2280), ("validation", 210), ("test", 630)):
            source = load_source("builtin:spoken_digits", split, modality="audio")
            (items,) = source.dataset.batch(count)
            assert source.num_items == count == len(items["label"])
            assert items["audio"].dtype == tf.float32
            assert set(items["rate"].numpy()) == {8000}
            assert np.abs(items["audio"]).max() <= 1
            counts = np.bincount(items["label"])
            assert counts.tolist() == [count // 10] * 10
            sounds |= {sound.tobytes() for sound in items["audio"].numpy()}
        assert len(sounds) == 3120

    def test_no_speaker_is_in_two_splits(self):
        _, _, speakers = spoken_digits._speak()
        rule = SplitRule(**spoken_digits.FIXED_SPLIT)
        found = [set(speakers[grouped_split(speakers, s, rule)]) for s in SPLITS]
        assert len(set.union(*found)) == sum(map(len, found)) == 85

    def test_the_test_is_the_same_for_every_seed(self):
        one, other = (
            spoken_digits.split_sounds("test", SplitRule(seed=seed))[0]
            for seed in (0, 7)
        )
        np.testing.assert_array_equal(one, other)
