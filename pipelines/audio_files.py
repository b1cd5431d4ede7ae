"""From a sound file, or the sound track of a video file, to samples, through PyAV.

PyAV carries FFmpeg, which decodes WAV, FLAC, MP3, OGG and most else. Several channels
become one by their mean.
"""

import contextlib
import io
import math
import os

import av
import numpy as np
import tensorflow as tf

from pipelines import python_ops

# A file is cut off if it holds less than what its header states, but for this many
# seconds and this part of it: headers round, and encoders fill up whole frames.
_SLACK = (0.25, 0.01)
_UNKNOWN_RIFF_SIZES = (0, 0xFFFFFFFF)  # As written to a pipe.


def probe(sound, *, is_path):
    """Looks up what a file holds, decoding it only where the header does not tell.

    Args:
        sound: string scalar, the path of a file or the bytes of one.
        is_path: bool, which of the two.

    Returns:
        Pair of the samples per second, int32 scalar, and the number of seconds,
        float32 scalar.

    Raises:
        tf.errors.InvalidArgumentError: if the file holds no sound; a sentence.
    """
    rate, seconds = python_ops.call(
        _probe_file, [sound], (tf.int32, tf.float32), is_path=is_path
    )
    return tf.ensure_shape(rate, ()), tf.ensure_shape(seconds, ())


def _probe_file(sound, is_path):
    with _open(sound, is_path) as stream:
        seconds = _stated_seconds(stream)
        if seconds is None:
            frames = stream.container.decode(stream)
            seconds = sum(frame.samples for frame in frames) / stream.rate
        return np.int32(stream.rate), np.float32(seconds)


def read(sound, rate, *, is_path):
    """Decodes a file whole, resampled to a rate.

    Args:
        sound: string scalar, the path of a file or the bytes of one.
        rate: int, samples per second of the result.
        is_path: bool, whether `sound` is a path or bytes.

    Returns:
        float32 tensor (samples,), in [-1, 1] for what was encoded within it.

    Raises:
        tf.errors.InvalidArgumentError: if the file cannot be decoded, holds no sound
            or ends early, as far as its format tells: an MP3 without a header of its
            length and an OGG do not. A sentence.
    """
    samples = python_ops.call(
        _read_file, [sound], tf.float32, rate=rate, is_path=is_path
    )
    return tf.ensure_shape(samples, (None,))


def _read_file(sound, rate, is_path):
    with _open(sound, is_path) as stream:
        return _decode(stream, rate)


def resample(samples, rate, new_rate):
    """Resamples sound, with FFmpeg's anti-aliasing filter.

    Args:
        samples: float array (samples,).
        rate: int, samples per second.
        new_rate: int, samples per second of the result.

    Returns:
        float32 array (samples * new_rate / rate,), to rounding.
    """
    frame = av.AudioFrame.from_ndarray(
        np.asarray(samples, np.float32)[None], format="fltp", layout="mono"
    )
    frame.sample_rate = int(rate)
    resampled = list(_resampled([frame], int(new_rate)))
    return np.concatenate(resampled) if resampled else np.zeros(0, np.float32)


class _NoSound(Exception):
    """A file that FFmpeg reads and that holds no sound, or not all of it."""


@contextlib.contextmanager
def _open(sound, is_path):
    """The `av.AudioStream` of a path or of bytes; errors are sentences."""
    if not isinstance(sound, bytes):  # Eagerly, NumPy functions receive arrays.
        sound = sound.item()
    try:
        # Opened here and not by FFmpeg, to which some names mean other than files.
        with open(os.fsdecode(sound), "rb") if is_path else io.BytesIO(sound) as file:
            _check_riff(file)
            with av.open(file, metadata_errors="replace") as container:
                stream = container.streams.best("audio")
                if stream is None:
                    raise _NoSound("the file has no sound")
                yield stream
    # Both are mistakes of the file's; PyAV has an `IndexError` for one without parts.
    except (av.FFmpegError, OSError, IndexError, _NoSound) as error:
        reason = getattr(error, "strerror", None) or str(error)
        # ValueError is what TensorFlow takes for an error of the input.
        raise ValueError(reason) from None


def _check_riff(file):
    """Raises where a WAV file is shorter than it says; FFmpeg plays what is there."""
    head = file.read(12)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if not size:
        raise _NoSound("the file is empty")
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return
    stated = int.from_bytes(head[4:8], "little")
    # Some programs count the first 8 bytes in, and some do not fill up to an even size.
    if stated not in _UNKNOWN_RIFF_SIZES and stated > size + 8:
        raise _NoSound(f"it ends after {size} of {stated + 8} bytes")


def _stated_seconds(stream):
    """How long the header says that a stream is; None where nothing reliable is."""
    if stream.container.format.name == "mp3" and not stream.start_time:
        return None  # Guessed from the first frames, which may be unlike the others.
    if not stream.duration:
        return None
    return float(stream.duration * stream.time_base)


def _decode(stream, rate):
    held = 0.0

    def frames():
        nonlocal held
        for frame in stream.container.decode(stream):
            held += frame.samples / frame.sample_rate
            yield frame

    samples = list(_resampled(frames(), rate))
    stated = _stated_seconds(stream)
    if stated is not None and held + _SLACK[0] + _SLACK[1] * stated < stated:
        raise _NoSound(f"it ends after {held:.2f} of {stated:.2f} seconds")
    samples = np.concatenate(samples) if samples else np.zeros(0, np.float32)
    if not samples.size:
        raise _NoSound("the sound has no samples")
    if not math.isfinite(samples.sum(dtype=np.float64)):
        raise _NoSound("the sound has samples that are not finite")
    return samples


def _resampled(frames, rate):
    """Yields mono float32 arrays of the sound in frames of any kind."""
    resampler = kind = None
    for frame in frames:
        frame.pts = None  # Gaps in time are not filled.
        own = (frame.format.name, frame.layout.name, frame.sample_rate)
        if own != kind:  # As good as always only once in a file.
            if resampler is not None:
                yield from map(_mono, resampler.resample(None))
            resampler, kind = av.AudioResampler("fltp", rate=rate), own
        yield from map(_mono, resampler.resample(frame))
    if resampler is not None:
        yield from map(_mono, resampler.resample(None))


def _mono(frame):
    return frame.to_ndarray().mean(axis=0)
