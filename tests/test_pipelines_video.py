"""The video recipe: from a folder of files, or arrays, to the clips a model sees."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

from pipelines.recipes import find_recipe, load_recipe, save_recipe
from pipelines.sources import load_source
from pipelines.sources.source import source_from_columns
from pipelines.video import VideoRecipe
from test_pipelines_video_files import BIKES
from video_clips import numbered_frames, read_numbers, write_video

RECIPE = VideoRecipe(num_frames=5, frame_stride=2, image_size=(16, 64), channels=1)


def numbers(clips):
    """The numbers of the frames of clips of the value range (-1, 1)."""
    return [read_numbers((clip + 1) * 127.5) for clip in np.asarray(clips)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of videos of 30 to 37 frames, some slow and some fast."""
    folder = tmp_path_factory.mktemp("videos")
    for name, rate in (("slow", 10), ("fast", 30)):
        (folder / name).mkdir()
        for number in range(8):
            write_video(
                folder / name / f"{number}.mkv",
                numbered_frames(30 + number),
                codec="ffv1",
                rate=rate,
            )
    return folder


def source_of(folder, split="train"):
    return load_source(f"folder:{folder}", split, modality="video")


@pytest.fixture(scope="module")
def arrays():
    videos = np.stack([numbered_frames(12)] * 6)
    return source_from_columns(
        {"video": videos}, [0, 1] * 3, classes=("a", "b"), name="arrays"
    )


@pytest.mark.parametrize("cache", [False, True])
def test_training_clips_begin_anywhere(folder, cache):
    source = source_of(folder)

    def first(seed, count=6, **kwargs):
        dataset = RECIPE.train_dataset(
            source, batch_size=4, seed=seed, cache=cache, **kwargs
        )
        assert dataset.element_spec == (
            tf.TensorSpec((4, 5, 16, 64, 1), tf.float32),
            tf.TensorSpec((4,), tf.int32),
        )
        return np.stack([clips for clips, _ in dataset.take(count)])

    batches = first(0)
    found = np.array(numbers(batches.reshape(24, 5, 16, 64, 1)))
    assert (np.diff(found) == 2).all()
    assert len(set(found[:, 0])) > 10 and found.min() < 3 and found.max() > 26
    np.testing.assert_array_equal(batches, first(0))
    assert (batches != first(1)).any()
    epoch = RECIPE.steps_per_epoch(source, 4)
    np.testing.assert_array_equal(
        batches[epoch:], first(0, 6 - epoch, start_step=epoch)
    )


def test_caching_changes_nothing_but_time(folder):
    source = source_of(folder)
    clips = [
        next(iter(RECIPE.train_dataset(source, batch_size=8, seed=3, cache=cache)))[0]
        for cache in (False, True)
    ]
    np.testing.assert_array_equal(*clips)


def test_evaluation_sees_the_middle(folder):
    source = source_of(folder, "test")
    ((clips, labels),) = RECIPE.eval_dataset(source, batch_size=9)
    paths = [item["path"].decode() for item in source.dataset.as_numpy_iterator()]
    for clip, path in zip(numbers(clips), paths, strict=True):
        total = 30 + int(path[-5])
        start = (total - 8) // 2
        assert clip == list(range(start, start + 9, 2))
    assert [source.classes[label] for label in labels] == [
        path.split("/")[-2] for path in paths
    ]


def test_a_frame_rate_gives_all_videos_the_same_pace(folder):
    recipe = dataclasses.replace(RECIPE, frame_stride=None, frame_rate=10)
    source = source_of(folder)
    (clips, labels) = next(iter(recipe.eval_dataset(source, batch_size=9)))
    for clip, label in zip(numbers(clips), labels, strict=True):
        step = 3 if source.classes[label] == "fast" else 1
        assert set(np.diff(clip)) == {step}


def test_several_evaluation_clips(folder):
    recipe = dataclasses.replace(RECIPE, num_eval_clips=4)
    source = source_of(folder, "test")
    # A batch has as many clips, whosever they are.
    batches = list(recipe.eval_dataset(source, batch_size=9))
    assert [len(labels) for _, labels in batches] == [2] * (source.num_items // 2)
    clips, _ = batches[0]
    assert clips.shape[1:] == (4, 5, 16, 64, 1)
    first, *_, last = numbers(clips[0])
    assert first == [0, 2, 4, 6, 8] and last[-1] >= 29
    (one, *_), *_ = recipe.eval_dataset(source, batch_size=1)
    np.testing.assert_array_equal(one, clips[:1])
    assert recipe.with_one_clip() == RECIPE.with_one_clip() == RECIPE


def test_preprocess_is_evaluation(folder):
    source = source_of(folder, "test")
    ((clips, _),) = RECIPE.eval_dataset(source, batch_size=9)
    paths = [item["path"] for item in source.dataset.as_numpy_iterator()]
    np.testing.assert_array_equal(RECIPE.preprocess(paths), clips)
    video = numbered_frames(30)
    for item in (video, video / np.float32(255)):
        (clip,) = RECIPE.preprocess([item])
        assert numbers([clip]) == [[11, 13, 15, 17, 19]]


def test_inception_crops_are_boxes_of_the_frames(folder):
    recipe = dataclasses.replace(RECIPE, crop="inception", channels=3)
    source = source_of(folder)
    clips, _ = next(iter(recipe.train_dataset(source, batch_size=8, seed=0)))
    whole, _ = next(
        iter(
            dataclasses.replace(RECIPE, channels=3).train_dataset(
                source, batch_size=8, seed=0
            )
        )
    )
    assert clips.shape == whole.shape and (clips != whole).numpy().any()
    middle, _ = next(iter(recipe.eval_dataset(source, batch_size=8)))
    assert middle.shape == clips.shape
    with pytest.raises(ValueError, match="`cache` keeps resized frames"):
        recipe.train_dataset(source, batch_size=8, seed=0, cache=True)


@pytest.mark.parametrize("cache", [False, True])
def test_central_crops_are_the_middle_in_training_too(folder, cache):
    recipe = dataclasses.replace(RECIPE, crop="central", num_frames=30, frame_stride=1)
    source = source_of(folder, "test")
    kwargs = {"batch_size": 1, "seed": 0, "cache": cache}
    clips, _ = next(iter(recipe.train_dataset(source, **kwargs)))
    (middle, _), *_ = dataclasses.replace(recipe, crop="inception").eval_dataset(
        source, batch_size=99
    )
    # All clips begin at one of the first 8 frames, and all frames are known.
    frames = {frame.tobytes() for video in middle.numpy() for frame in video}
    shared = [frame.tobytes() in frames for frame in clips.numpy()[0]]
    assert sum(shared) > 20


def test_augmentation_is_the_same_for_all_frames(arrays):
    still = np.repeat(np.asarray(numbered_frames(6))[:, None], 12, axis=1)
    source = source_from_columns(
        {"video": still}, [0, 1] * 3, classes=("a", "b"), name="still"
    )
    recipe = VideoRecipe.from_source(source)
    clips, _ = next(
        iter(
            recipe.train_dataset(
                source,
                batch_size=6,
                seed=0,
                shift_pixels=5,
                flip=True,
                brightness=0.2,
                contrast=0.2,
                saturation=0.2,
                hue=0.2,
            )
        )
    )
    assert np.ptp(clips, axis=1).max() < 1e-5
    assert np.ptp(clips, axis=0).max() > 0.5


class TestFromSource:
    def test_files(self, folder):
        recipe = VideoRecipe.from_source(source_of(folder))
        assert recipe == VideoRecipe(
            num_frames=16, frame_stride=1, image_size=(48, 48), channels=3
        )
        assert recipe.describe() == "clips of 16 frames of 48 x 48 x 3, every frame"

    def test_bikes(self, tmp_path):
        for split in ("train", "test"):
            for name in ("a", "b"):
                (tmp_path / split / name).mkdir(parents=True)
                shutil.copy(BIKES, tmp_path / split / name / "bikes.MP4")
        source = load_source(
            f"folder:{tmp_path}", "train", modality="video", validation_fraction=0
        )
        recipe = VideoRecipe.from_source(source)
        # 16 frames at a stride of 7 span 112 of 250 frames.
        assert (recipe.num_frames, recipe.frame_stride) == (16, 7)
        given = VideoRecipe.from_source(source, num_frames=8, frame_rate=5)
        assert given.frame_stride is None and given.frame_rate == 5
        assert given.describe() == (
            "clips of 8 frames of 48 x 48 x 3, 5 frames per second"
        )
        alone = VideoRecipe.from_source(source, num_frames=1)
        assert alone.describe() == "single frames of 48 x 48 x 3"
        clips, _ = next(iter(given.train_dataset(source, batch_size=2, seed=0)))
        assert np.ptp(clips) > 1.5

    def test_small_clips_are_kept_whole(self):
        source = load_source("builtin:moving_digits", "validation", modality="video")
        recipe = VideoRecipe.from_source(source)
        assert recipe == VideoRecipe(
            num_frames=8, frame_stride=1, image_size=(32, 32), channels=1
        )
        for (clip,), item in zip(
            recipe.eval_dataset(source, batch_size=1).map(lambda x, _: x).take(3),
            source.dataset.take(3),
            strict=True,
        ):
            np.testing.assert_allclose(
                (clip + 1) * 127.5, tf.cast(item["video"], tf.float32), atol=1e-4
            )

    def test_a_stump_does_not_decide_for_all(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            for number in range(20):
                count = 2 if (name, number) == ("a", 3) else 12
                path = tmp_path / name / f"{number}.mkv"
                write_video(path, numbered_frames(count), codec="ffv1")
        source = load_source(
            f"folder:{tmp_path}",
            "train",
            modality="video",
            validation_fraction=0,
            test_fraction=0,
        )
        recipe = VideoRecipe.from_source(source, image_size=(16, 64), channels=1)
        assert recipe.num_frames == 12
        stump = tmp_path / "a" / "3.mkv"
        assert numbers(recipe.preprocess([stump])) == [[0, *[1] * 11]]

    def test_videos_in_memory_have_no_rate(self, arrays):
        with pytest.raises(ValueError, match="`frame_rate` needs video files.*arrays"):
            VideoRecipe.from_source(arrays, frame_rate=10)


def test_a_recipe_is_saved_beside_a_model(tmp_path):
    recipe = dataclasses.replace(RECIPE, num_eval_clips=3)
    save_recipe(recipe, ["a", "b"], tmp_path / "pipeline.json")
    assert load_recipe(tmp_path / "pipeline.json") == (recipe, ["a", "b"])
    assert find_recipe("video") is VideoRecipe


@pytest.mark.parametrize(
    "fields, sentence",
    [
        ({"num_frames": 0}, "`num_frames` must be a positive integer"),
        ({"frame_stride": 0}, "`frame_stride` must be a positive integer"),
        ({"frame_rate": 5}, "Either `frame_stride` or `frame_rate`"),
        ({"frame_stride": None}, "Either `frame_stride` or `frame_rate`"),
        ({"frame_stride": None, "frame_rate": 0}, "`frame_rate` must be a positive"),
        ({"num_eval_clips": 0}, "`num_eval_clips` must be a positive integer"),
        ({"image_size": 32}, "`image_size` must be a pair"),
        ({"channels": 2}, "`channels` must be one of 1, 3"),
        ({"crop": "centre"}, "`crop` must be one of 'resize', 'central'"),
    ],
)
def test_wrong_fields(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(RECIPE, **fields)


@pytest.mark.parametrize(
    "augmentation, sentence",
    [
        ({"shift_pixels": 16}, "`shift_pixels` must be less than both sides"),
        ({"brightness": 1.0}, "`brightness` must be a finite number in"),
        ({"contrast": "much"}, "`contrast` must be a finite number in"),
        ({"hue": 0.7}, r"`hue` must be a finite number in \[0, 0.5\]"),
    ],
)
def test_wrong_augmentation(augmentation, sentence):
    with pytest.raises(ValueError, match=sentence):
        RECIPE.training_ops(**augmentation)


class TestBrokenFiles:
    @pytest.fixture
    def broken(self, folder, tmp_path):
        """One video of which only the first half is there; its middle clip is."""
        shutil.copytree(folder, tmp_path / "videos")
        path = tmp_path / "videos" / "fast" / "3.mkv"
        noise = np.random.default_rng(0).integers(0, 255, (90, 32, 64, 3), np.uint8)
        write_video(path, noise, codec="ffv1", rate=10)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.7)])
        return tmp_path / "videos", path

    def test_are_named_wherever_training_found_them(self, broken):
        folder, path = broken
        source = load_source(
            f"folder:{folder}",
            "train",
            modality="video",
            validation_fraction=0,
            test_fraction=0,
        )
        for _ in RECIPE.eval_dataset(source, batch_size=4):
            pass
        with pytest.raises(ValueError) as error:
            with RECIPE.readable_errors(source):
                for _ in RECIPE.train_dataset(source, batch_size=4, seed=0).take(99):
                    pass
        assert f"Cannot decode video '{path}': it ends after 6" in str(error.value)
        # So that none is left out of training without being listed.
        ((_, sentence),) = RECIPE.unreadable(source)
        assert sentence == str(error.value)

    def test_are_named_when_the_recipe_looks(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "videos")
        for path in (tmp_path / "videos").rglob("*.mkv"):
            path.write_text("no video")
        with pytest.raises(ValueError, match="Cannot decode video '.*mkv': Invalid"):
            VideoRecipe.from_source(source_of(tmp_path / "videos"))

    def test_are_named_by_preprocess(self, tmp_path):
        (tmp_path / "a.mp4").write_text("no video")
        with pytest.raises(ValueError, match="Cannot decode video '.*a.mp4': Invalid"):
            RECIPE.preprocess([tmp_path / "a.mp4"])
