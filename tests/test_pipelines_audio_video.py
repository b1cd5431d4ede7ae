"""The recipe of videos with sound, and the digits seen and heard."""

import dataclasses

import numpy as np
import pytest

from pipelines.audio import AudioRecipe
from pipelines.audio_video import AudioVideoRecipe
from pipelines.recipes import load_recipe, save_recipe
from pipelines.sources import load_source
from pipelines.video import VideoRecipe
from sound_files import encode_sound, tone

RATE = 1000
RECIPE = AudioVideoRecipe(
    audio=AudioRecipe(rate=RATE, num_samples=500),
    video=VideoRecipe(num_frames=5, frame_rate=10.0, image_size=(8, 8), channels=1),
)


def clip(seconds=2.0):
    """A video at 10 frames per second that is as bright as its sound is loud."""
    loudness = np.linspace(0.1, 1.0, round(10 * seconds))
    video = np.broadcast_to(
        loudness[:, None, None, None] * 250, (len(loudness), 8, 8, 3)
    )
    sound = np.repeat(loudness, RATE // 10) * np.sign(tone(RATE, seconds, 100.0)) * 0.9
    return video.astype(np.uint8), sound.astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    video, sound = clip()
    data = encode_sound(sound, RATE, "matroska", "pcm_s16le", video=video)
    for name in "ab":
        (folder / name).mkdir()
        for number in range(8):
            (folder / name / f"{number}.mkv").write_bytes(data)
    return folder


def source_of(folder, split="train"):
    return load_source(f"folder:{folder}", split, modality="audio_video")


def power(loudness):
    """The root mean square, (n, 1), of sounds of such loudness, (n, frames)."""
    return np.sqrt((loudness**2).mean(axis=-1, keepdims=True))


def brightness_and_loudness(batch):
    """Of each frame, and of the sound during it."""
    brightness = (np.mean(batch["video"], axis=(2, 3, 4)) + 1) / 2 * 255 / 250
    audio = np.reshape(batch["audio"], (len(batch["audio"]), 5, -1))
    return brightness, np.abs(audio).mean(axis=2)


@pytest.mark.parametrize("cache", [False, True])
def test_sound_and_frames_of_a_clip_are_of_the_same_time(folder, cache):
    dataset = RECIPE.train_dataset(source_of(folder), batch_size=4, seed=0, cache=cache)
    starts = set()
    for batch, _ in dataset.take(4):
        assert batch["video"].shape == (4, 5, 8, 8, 1)
        assert batch["audio"].shape == (4, 500)
        brightness, loudness = brightness_and_loudness(batch)
        # The root mean square of each sound is 1.
        expected = brightness / power(brightness)
        np.testing.assert_allclose(loudness, expected, atol=0.04)
        starts |= set(brightness[:, 0].round(2))
    assert len(starts) > 3


def test_evaluation_and_preprocess_agree(folder, tmp_path):
    source = source_of(folder, "test")
    ((expected, _),) = RECIPE.eval_dataset(source, batch_size=100)
    brightness, loudness = brightness_and_loudness(expected)
    np.testing.assert_allclose(loudness, brightness / power(brightness), atol=0.04)
    paths = [item["path"].numpy() for item in source.dataset]
    video, sound = clip()
    in_memory = {"video": video[..., :1], "audio": sound, "rate": RATE}
    for items, atol in ((paths, 1e-6), ([in_memory], 0.02)):
        if items is not paths:
            recipe = AudioVideoRecipe(
                audio=RECIPE.audio,
                video=VideoRecipe(
                    num_frames=5, frame_stride=1, image_size=(8, 8), channels=1
                ),
            )
        else:
            recipe = RECIPE
        found = recipe.preprocess(items)
        assert set(found) == {"audio", "video"}
        for key, value in found.items():
            np.testing.assert_allclose(value[0], expected[key][0], atol=atol)

    file = tmp_path / "pipeline.json"
    save_recipe(RECIPE, ["a", "b"], file)
    assert load_recipe(file) == (RECIPE, ["a", "b"])


def test_several_evaluation_clips_and_their_sounds(folder):
    recipe = dataclasses.replace(RECIPE, num_eval_clips=4)
    source = source_of(folder, "test")
    (batch, labels), *_ = recipe.eval_dataset(source, batch_size=4 * source.num_items)
    assert batch["video"].shape == (len(labels), 4, 5, 8, 8, 1)
    assert batch["audio"].shape == (len(labels), 4, 500)
    of_clips = {key: np.concatenate(value.numpy()) for key, value in batch.items()}
    brightness, loudness = brightness_and_loudness(of_clips)
    np.testing.assert_allclose(loudness, brightness / power(brightness), atol=0.04)
    firsts = brightness[:4, 0]
    assert (np.diff(firsts) > 0.1).all()


@pytest.mark.parametrize("seconds, last", [(1.0, 1.0), (2.0, 0.0), (3.0, 0.0)])
def test_a_sound_longer_than_its_clip_does_not_outlast_the_video(folder, seconds, last):
    recipe = dataclasses.replace(
        RECIPE,
        audio=AudioRecipe(rate=RATE, num_samples=round(seconds * RATE)),
        video=dataclasses.replace(RECIPE.video, num_frames=1),
        num_eval_clips=2,
    )
    ((batch, _),) = recipe.eval_dataset(source_of(folder, "test"), batch_size=100)
    clips = batch["audio"][0].numpy()
    _, sound = clip()  # Of 2 s, whose last frame is shown at 1.9 s.
    for found, start in zip(clips, (0.0, last), strict=True):
        expected = np.zeros(len(found), np.float32)
        heard = sound[round(start * RATE) :][: len(found)]
        expected[: len(heard)] = heard
        expected /= np.sqrt(np.mean(expected**2))
        np.testing.assert_allclose(found, expected, atol=0.02)


def test_fields_are_found_from_the_videos(folder):
    recipe = AudioVideoRecipe.from_source(
        source_of(folder), audio={"rate": None}, video={"num_frames": 5}
    )
    assert recipe.audio.rate == RATE
    assert recipe.video.frame_rate == 5.0 and recipe.video.image_size == (8, 8)
    assert recipe.audio.num_samples == RATE
    (batch, _), *_ = recipe.eval_dataset(source_of(folder), batch_size=2)
    assert batch["audio"].shape == (2, RATE)


def test_a_video_without_sound_is_named(folder, tmp_path):
    video, _ = clip()
    path = tmp_path / "silent.mkv"
    silence = np.zeros(0, np.float32)
    path.write_bytes(encode_sound(silence, RATE, "matroska", None, video=video))
    sentence = rf"^Cannot decode video '{path}': the file has no sound\.$"
    with pytest.raises(ValueError, match=sentence):
        RECIPE.preprocess([str(path)])


def test_bad_arguments():
    video = VideoRecipe(
        num_frames=5, frame_stride=1, image_size=(8, 8), channels=1, num_eval_clips=2
    )
    with pytest.raises(ValueError, match="Received: `video` with num_eval_clips=2"):
        AudioVideoRecipe(audio=RECIPE.audio, video=video)
    with pytest.raises(ValueError, match="Received: num_eval_clips=0"):
        AudioVideoRecipe(audio=RECIPE.audio, video=RECIPE.video, num_eval_clips=0)
    with pytest.raises(ValueError, match="Received: ndarray"):
        RECIPE.preprocess([np.zeros((5, 8, 8), np.uint8)])


class TestSeenAndHeardDigits:
    def test_splits(self):
        for split, count in (("validation", 400), ("test", 1000)):
            source = load_source(
                "builtin:seen_and_heard_digits", split, modality="audio_video"
            )
            (items,) = source.dataset.batch(count)
            assert source.num_items == count == len(items["label"])
            assert items["video"].shape == (count, 8, 32, 32, 1)
            assert items["audio"].shape == (count, 8000)
            assert np.bincount(items["label"]).tolist() == [count // 10] * 10
            assert np.abs(items["audio"]).max() <= 1
            lit = (items["video"].numpy() > 0).sum(axis=(2, 3, 4))
            # All frames have the same pixels, in other places.
            np.testing.assert_array_equal(lit, np.broadcast_to(lit[:, :1], lit.shape))
            # A digit has 150 of 784 pixels lit in the mean; 35% stay.
            assert 40 < lit.mean() < 65

    def test_the_recipe_is_found(self):
        source = load_source(
            "builtin:seen_and_heard_digits", "validation", modality="audio_video"
        )
        recipe = AudioVideoRecipe.from_source(source, audio={"representation": "mel"})
        assert recipe.audio.num_samples == 8000 and recipe.audio.num_frames == 100
        assert recipe.video.num_frames == 8 and recipe.video.frame_stride == 1
        dataset = recipe.train_dataset(
            source,
            batch_size=8,
            seed=0,
            cache=True,
            audio={"speed": 0.1, "time_mask": 0.1},
            video={"shift_pixels": 2},
        )
        ((batch, labels),) = dataset.take(1)
        assert batch["audio"].shape == (8, 100, 40) and labels.shape == (8,)
        assert batch["video"].shape == (8, 8, 32, 32, 1)

    def test_one_stream_is_that_of_both(self):
        name = "builtin:seen_and_heard_digits"
        both = load_source(name, "validation", modality="audio_video")
        (items,) = both.dataset.batch(400)
        for modality, kept in (("audio", {"audio", "rate"}), ("video", {"video"})):
            source = load_source(name, "validation", modality=modality)
            assert source.num_items == 400 and source.classes == both.classes
            (own,) = source.dataset.batch(400)
            assert set(own) == kept | {"label", "index"}
            for key, value in own.items():
                np.testing.assert_array_equal(value, items[key])
        with pytest.raises(ValueError, match="is of modality 'audio_video'"):
            load_source(name, "validation", modality="text")
