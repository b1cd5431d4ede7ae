"""Video steps: the same eagerly and inside tf.data, and the same for all frames."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines import video_ops
from test_pipelines_image_ops import run
from video_clips import numbered_frames, read_numbers, write_video

SEED = [3, 5]
FRAMES = numbered_frames(40)


def chosen(op, num_frames, frame_rate=np.nan, seed=SEED):
    example = {
        "video_shape": np.int32([num_frames, 32, 64, 3]),
        "frame_rate": np.float32(frame_rate),
        "seed": seed,
    }
    return run(op, example)["frames"]


def boxes(op, shape, count=200):
    op = tf.function(op)
    for i in range(count):
        example = {"video_shape": tf.constant(shape), "seed": tf.constant([0, i])}
        yield op(example)["box"].numpy().tolist()


class TestFrames:
    def test_random_clips_begin_anywhere_and_end_within(self):
        op = tf.function(video_ops.random_clip(4, frame_stride=3))
        starts = set()
        for i in range(100):
            example = {
                "video_shape": tf.constant([15, 1, 1, 1]),
                "frame_rate": tf.constant(np.nan),
                "seed": tf.constant([0, i]),
            }
            frames = op(example)["frames"].numpy()
            np.testing.assert_array_equal(np.diff(frames), 3)
            starts.add(int(frames[0]))
        assert starts == set(range(15 - 9))

    def test_middle_clip(self):
        assert chosen(video_ops.middle_clips(4), 10).tolist() == [3, 4, 5, 6]
        assert chosen(video_ops.middle_clips(3, frame_stride=3), 7).tolist() == (
            [0, 3, 6]
        )

    def test_clips_all_over_the_video(self):
        clips = chosen(video_ops.middle_clips(32, 16), 250)
        assert clips.shape == (16, 32)
        assert clips[0, 0] == 0 and clips[-1, -1] == 249
        assert set(np.diff(clips[:, 0]).tolist()) <= {14, 15}
        assert set(clips.ravel().tolist()) == set(range(250))  # They overlap.
        one = chosen(video_ops.middle_clips(32, 1), 250)
        np.testing.assert_array_equal(one[0], chosen(video_ops.middle_clips(32), 250))

    def test_short_videos_hold_their_last_frame(self):
        for op in (video_ops.middle_clips(5), video_ops.random_clip(5)):
            assert chosen(op, 3).tolist() == [0, 1, 2, 2, 2]

    @pytest.mark.parametrize("native, step", [(30, 3), (30000 / 1001, 3), (25, 2.5)])
    def test_frame_rate(self, native, step):
        op = video_ops.middle_clips(10, 2, frame_rate=native / step)
        first, last = chosen(op, 100, native)
        np.testing.assert_array_equal(first, np.floor(np.arange(10) * step + 1e-3))
        assert last[-1] == 99
        # Slower videos show a frame more than once.
        assert chosen(
            video_ops.middle_clips(4, 2, frame_rate=2 * native), 9, native
        ).tolist() == [[0, 0, 1, 1], [7, 7, 8, 8]]


class TestBox:
    def test_random_boxes_are_within_and_of_all_sizes(self):
        found = np.array(list(boxes(video_ops.random_box(), [9, 48, 64, 3])))
        top, left, height, width = found.T
        assert found.min() >= 0 and height.min() > 0 and width.min() > 0
        assert (top + height).max() <= 48 and (left + width).max() <= 64
        area = height * width / (48 * 64)
        assert 0.07 < area.min() < 0.2 and 0.8 < area.max() <= 1
        assert len({tuple(box) for box in found.tolist()}) > 150

    def test_middle_box(self):
        # 256 x 256 of 256 x 340 would be covered by 224 x 224.
        op = video_ops.middle_box((112, 112))
        (box,) = boxes(op, [9, 256, 340, 3], count=1)
        assert box == [16, 58, 224, 224]
        (box,) = boxes(video_ops.middle_box((10, 20)), [9, 32, 32, 3], count=1)
        assert box == [9, 2, 14, 28]


class TestRead:
    @pytest.mark.parametrize("form", ["video", "encoded", "path"])
    def test_all_forms_read_alike(self, form, tmp_path):
        path = write_video(tmp_path / "a.mkv", FRAMES, codec="ffv1")
        value = {"video": FRAMES, "encoded": path.read_bytes(), "path": str(path)}
        example = run(video_ops.probe(), {form: value[form]})
        assert example["video_shape"].tolist() == [40, 32, 64, 3]
        assert np.isnan(example["frame_rate"]) or form != "video"
        example |= {"frames": np.int32([[3, 5], [37, 3]]), "box": [4, 0, 25, 64]}
        example.pop("encoded", None)
        clip = run(video_ops.read((25, 64), 3), {**example, form: value[form]})
        assert clip["video"].dtype == np.uint8
        np.testing.assert_array_equal(
            clip["video"], FRAMES[[[3, 5], [37, 3]]][..., 4:29, :, :]
        )
        # What is read can be read from again; sound follows the frames that were read.
        assert {"box", "video_shape", "encoded"}.isdisjoint(clip)
        assert clip["frames"].tolist() == [[3, 5], [37, 3]]

    def test_sizes_and_channels(self):
        example = {
            "video": FRAMES,
            "video_shape": np.int32(FRAMES.shape),
            "frames": np.int32([0, 21]),
            "box": np.int32([0, 0, 32, 64]),
        }
        small = run(video_ops.read((8, 64), 1), example)["video"]
        assert small.shape == (2, 8, 64, 1)
        assert read_numbers(small) == [0, 21]
        back = run(video_ops.read((8, 64), 3), {**example, "video": FRAMES[..., :1]})
        np.testing.assert_array_equal(back["video"], np.repeat(small, 3, axis=-1))

    def test_shapes_are_known_beforehand(self, tmp_path):
        path = write_video(tmp_path / "a.mkv", FRAMES, codec="ffv1")
        dataset = tf.data.Dataset.from_tensors({"path": str(path)})
        for op in (
            video_ops.probe(),
            video_ops.middle_clips(7),
            video_ops.whole_frames(),
            video_ops.read((8, 9), 1),
        ):
            dataset = dataset.map(op)
        assert dataset.element_spec["video"].shape == (7, 8, 9, 1)


def over_seeds(op, video, count):
    """What a random step makes of a video, seed by seed."""
    op = tf.function(op)
    for i in range(count):
        yield op({"video": tf.constant(video), "seed": tf.constant([0, i])})[
            "video"
        ].numpy()


class TestAugmentation:
    def example(self, rng, seed=SEED):
        video = rng.integers(0, 256, (3, 8, 10, 3), dtype=np.uint8)
        return {"video": video, "seed": seed}

    @pytest.mark.parametrize("wrap", [False, True])
    def test_shift_moves_all_frames_alike(self, rng, wrap):
        op = video_ops.random_shift(2, wrap=wrap)
        example = self.example(rng)
        run(op, example)
        video, offsets = example["video"], set()
        for moved in over_seeds(op, video, 100):
            padded = np.pad(
                video,
                ((0, 0), (2, 2), (2, 2), (0, 0)),
                mode="wrap" if wrap else "constant",
            )
            matches = [
                (down, right)
                for down in range(5)
                for right in range(5)
                if np.array_equal(moved, padded[:, down : down + 8, right : right + 10])
            ]
            assert len(matches) == 1
            offsets.add(matches[0])
        assert len(offsets) > 20

    def test_flip(self, rng):
        example = self.example(rng)
        run(video_ops.flip_left_right(), example)
        video, results = example["video"], []
        for flipped in over_seeds(video_ops.flip_left_right(), video, 40):
            is_flipped = np.array_equal(flipped, video[:, :, ::-1])
            assert is_flipped != np.array_equal(flipped, video)
            results.append(is_flipped)
        assert 10 < sum(results) < 30

    def test_brightness_and_contrast_and_saturation(self, rng):
        example = self.example(rng)
        plain = example["video"].astype(np.float32) / 255
        same = run(video_ops.colour_jitter(), example)["video"]
        np.testing.assert_allclose(same, plain, atol=1e-6)

        brighter = run(video_ops.colour_jitter(brightness=0.3), example)["video"]
        inner = (brighter > 0) & (brighter < 1)
        changes = (brighter - plain)[inner]
        assert np.ptp(changes) < 1e-5 and 1e-3 < abs(changes[0]) <= 0.3

        contrast = run(video_ops.colour_jitter(contrast=0.3), example)["video"]
        mean = plain.mean(axis=(1, 2), keepdims=True)
        inner = (contrast > 0) & (contrast < 1) & (np.abs(plain - mean) > 0.1)
        factors = ((contrast - mean) / (plain - mean))[inner]
        assert np.ptp(factors) < 1e-3 and 0.7 <= factors[0] <= 1.3

        grey = np.repeat(example["video"][..., :1], 3, axis=-1)
        jitter = video_ops.colour_jitter(saturation=0.5)
        kept = run(jitter, {**example, "video": grey})["video"]
        np.testing.assert_allclose(kept, grey / np.float32(255), atol=1e-5)
        assert np.abs(run(jitter, example)["video"] - plain).mean() > 1e-3
        one = {**example, "video": grey[..., :1]}
        np.testing.assert_allclose(run(jitter, one)["video"], kept[..., :1], atol=1e-5)

    def test_scale(self):
        video = np.uint8([0, 51, 255]).reshape(1, 1, 3, 1)
        scaled = run(video_ops.scale(), {"video": video})["video"]
        np.testing.assert_allclose(scaled.ravel(), [-1, -0.6, 1], atol=1e-6)
        assert scaled.dtype == np.float32
