"""From a video file to frames, through PyAV, which carries FFmpeg.

Frames are counted by the file's mean frame rate: the frame at position p is the one
on display p / frame_rate seconds after the first, which with a steady rate is frame
number p. Nothing but the frames that are asked for is kept, and a position far ahead
is sought for rather than decoded up to.
"""

import contextlib
import io
import itertools
import os

import av
import numpy as np
import tensorflow as tf

from pipelines import python_ops

# Seeking returns to the key frame before; over shorter gaps decoding on costs less.
_SEEK_OVER = 64
# As `tf.image.resize(antialias=True)` does it, without FFmpeg's faster roundings.
_SCALE_FLAGS = "flags=bilinear+accurate_rnd+full_chroma_int+full_chroma_inp"
_PIXELS = {1: "gray", 3: "rgb24"}
_GREY_FORMATS = ("gray", "ya", "mono")
_QUARTER_TURNS = {0: [], 1: ["cclock"], 2: ["clock", "clock"], 3: ["clock"]}


def probe(video, *, is_path):
    """Looks up what a video holds, without decoding more than a frame.

    Args:
        video: string scalar, the path of a file or the bytes of one.
        is_path: bool, which of the two.

    Returns:
        Pair of an int32 tensor (frames, height, width, channels), as displayed, and
        a float32 scalar, the frames per second.

    Raises:
        tf.errors.InvalidArgumentError: if there is no video in the file.
    """
    shape, frame_rate = python_ops.call(
        _probe_file,
        [tf.convert_to_tensor(video)],
        (tf.int32, tf.float32),
        is_path=is_path,
    )
    return tf.ensure_shape(shape, (4,)), tf.ensure_shape(frame_rate, ())


def _probe_file(video, is_path):
    with _open(video, is_path) as reader:
        return np.int32(reader.shape), np.float32(reader.frame_rate)


def read(video, positions, box, *, size, channels, is_path):
    """Decodes some frames of a video, cut and resized one at a time.

    Args:
        video: string scalar, the path of a file or the bytes of one.
        positions: int32 tensor of any shape, the frames, counted from 0; past the end
            the last frame stays on display.
        box: int32 tensor (top, left, height, width), the part of a frame to keep.
        size: (height, width), what that part is resized to.
        channels: 1 for grey or 3 for colour.
        is_path: bool, whether `video` is a path or bytes.

    Returns:
        uint8 tensor of shape (*positions.shape, height, width, channels).

    Raises:
        tf.errors.InvalidArgumentError: if the file cannot be decoded or ends before
            the frames that it should have.
    """
    frames = python_ops.call(
        _read_file,
        [tf.convert_to_tensor(video), positions, box],
        tf.uint8,
        size=tuple(size),
        channels=channels,
        is_path=is_path,
    )
    return tf.ensure_shape(frames, (*positions.shape, *size, channels))


def _read_file(video, positions, box, size, channels, is_path):
    wanted, where = np.unique(positions, return_inverse=True)
    with _open(video, is_path) as reader:
        shown = reader.frames_at(wanted.tolist())
        fit = _Fit(reader, box.tolist(), size, _PIXELS[channels])
        frames = np.stack([fit(frame) for frame in shown])
    frames = frames.reshape(-1, *size, channels)
    return frames[where.reshape(positions.shape)]


@contextlib.contextmanager
def _open(video, is_path):
    """A `_Reader` of a path or of bytes; what goes wrong inside is a `ValueError`."""
    video = np.asarray(video, object).item()  # Bytes as such, or in an array.
    try:
        # Opened here and not by FFmpeg, to which some names mean other than files.
        with open(os.fsdecode(video), "rb") if is_path else io.BytesIO(video) as file:
            if not file.read(1):
                raise ValueError("the file is empty")
            file.seek(0)
            with av.open(file, metadata_errors="replace") as container:
                yield _Reader(container)
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or str(error)
        # `ValueError` is what TensorFlow takes for a mistake in the input.
        raise ValueError(reason) from None


class _Reader:
    """The video stream of an open container.

    Attributes:
        first: `av.VideoFrame`, the first frame.
        turns: int, quarter turns counterclockwise from stored to displayed frames.
        shape: (frames, height, width, channels), as displayed.
        frame_rate: float, frames per second.
    """

    def __init__(self, container):
        self._container = container
        self._stream = container.streams.best("video")
        if self._stream is None or (
            self._stream.disposition & av.stream.Disposition.attached_pic
        ):
            raise ValueError("the file has no video stream")
        num_frames, self.frame_rate = self._length()
        self._frames = container.decode(self._stream)
        self.first = next(self._frames, None)
        if self.first is None:
            raise ValueError("the file has no frames")
        self.turns = round(self.first.rotation / 90) % 4
        height, width = self.first.height, self.first.width
        if self.turns % 2:
            height, width = width, height
        grey = self.first.format.name.startswith(_GREY_FORMATS)
        self.shape = (num_frames, height, width, 1 if grey else 3)

    def _length(self):
        """The number of frames and their rate, from the header where it has them."""
        stream = self._stream
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        seconds = 0
        if stream.duration:
            seconds = float(stream.duration * stream.time_base)
        elif self._container.duration:
            seconds = self._container.duration / av.time_base
        self._is_counted = bool(stream.frames)
        if rate and (stream.frames or seconds):
            return stream.frames or max(1, round(seconds * rate)), rate
        # A header that was written before the frames, as browsers record: the packets
        # know. They are not decoded here.
        packets = [packet for packet in self._container.demux(stream) if packet.size]
        self._container.seek(0)
        self._is_counted = True
        times = sorted(
            float(packet.pts * packet.time_base)
            for packet in packets
            if packet.pts is not None
        )
        if len(times) > 1 and times[-1] > times[0]:
            rate = (len(times) - 1) / (times[-1] - times[0])
        return max(1, len(packets)), rate or 25.0

    def frames_at(self, positions):
        """Yields the frame on display at each of some sorted positions."""
        index, frame = 0, self.first
        following = self._count_on(1)
        upcoming = None
        for position in positions:
            position = min(position, self.shape[0] - 1)
            # Frames that bear no time can only be counted.
            if position - index > _SEEK_OVER and self.first.pts is not None:
                (index, frame), following = self._seek(position)
                upcoming = None
            while index < position:
                upcoming = upcoming or next(following, None)
                if upcoming is None or upcoming[0] > position:
                    break
                (index, frame), upcoming = upcoming, None
            if index < position and upcoming is None:
                self._check_end(index, frame, position)
            yield frame

    def _seek(self, position):
        """Returns (index, frame) at or before a position, and those that follow."""
        seconds = self.first.time + position / self.frame_rate
        target = int(seconds / self._stream.time_base)
        self._container.seek(target, stream=self._stream)
        self._frames = self._container.decode(self._stream)
        following = self._count_on(0)
        found = next(following, None)
        if found is None or found[0] > position:
            # The file's index misleads. Go the long way.
            self._container.seek(0)
            self._frames = self._container.decode(self._stream)
            following = self._count_on(0)
            found = next(following)
        return found, following

    def _count_on(self, start):
        """Yields (index, frame); `start` counts where the frames bear no time."""
        for number, frame in zip(itertools.count(start), self._frames, strict=False):
            if frame.pts is None or self.first.pts is None:
                yield number, frame
            else:
                seconds = frame.time - self.first.time
                yield round(seconds * self.frame_rate), frame

    def _check_end(self, index, frame, position):
        """Raises where a stream ends long before the frames that it should have."""
        held = 1
        if frame.duration and frame.time_base:
            held = max(1, round(frame.duration * frame.time_base * self.frame_rate))
        # A duration in a header may be that of the sound.
        slack = 1 if self._is_counted else self.frame_rate
        if position > index + held + slack:
            raise ValueError(f"it ends after {index + held} of {self.shape[0]} frames")


class _Fit:
    """Turns, cuts, resizes and converts frames with FFmpeg's filters.

    Args:
        reader: `_Reader` of the frames.
        box: (top, left, height, width), in displayed pixels.
        size: (height, width).
        pixels: str, FFmpeg's name of a pixel format.
    """

    def __init__(self, reader, box, size, pixels):
        first = reader.first
        top, left, height, width = box
        self._steps = [
            *(("transpose", turn) for turn in _QUARTER_TURNS[reader.turns]),
            ("crop", f"{width}:{height}:{left}:{top}:exact=1"),
            ("scale", f"{size[1]}:{size[0]}:{_SCALE_FLAGS}"),
            ("format", pixels),
        ]
        self._first_size = (first.width, first.height)
        self._time_base = first.time_base
        self._kind = self._graph = None

    def __call__(self, frame):
        kind = (frame.format.name, frame.width, frame.height)
        if kind != self._kind:  # As good as always only once in a file.
            self._kind = kind
            self._graph = self._make_graph(frame)
        self._graph.push(frame)
        return self._graph.pull().to_ndarray()

    def _make_graph(self, frame):
        graph = av.filter.Graph()
        graph.threads = 1  # `tf.data` reads several videos at a time.
        source = graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=self._time_base,
        )
        steps = self._steps
        if (frame.width, frame.height) != self._first_size:
            steps = [("scale", f"{self._first_size[0]}:{self._first_size[1]}"), *steps]
        filters = [graph.add(*step) for step in steps]
        graph.link_nodes(source, *filters, graph.add("buffersink")).configure()
        return graph
