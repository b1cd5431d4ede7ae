"""Small sound files for tests."""

import io

import av
import numpy as np


def tone(rate, seconds=1.0, frequency=440.0):
    """A sine of amplitude 0.5, float32 (samples,)."""
    times = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency * times)).astype(np.float32)


def encode_sound(wave, rate, file_format, codec, channels=1, video=None):
    """Encodes a wave, the same in all channels.

    Args:
        wave: float32 array (samples,).
        rate: int, samples per second.
        file_format: str, FFmpeg's name of a container.
        codec: str, FFmpeg's name of a codec.
        channels: 1 or 2.
        video: uint8 array (T, height, width, 3) to show at 10 frames per second; or
            None.

    Returns:
        bytes.
    """
    layout = {1: "mono", 2: "stereo"}[channels]
    frame = av.AudioFrame.from_ndarray(
        np.tile(wave, (channels, 1)), format="fltp", layout=layout
    )
    frame.sample_rate = rate
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=file_format) as container:
        if video is not None:
            _write_video(container, video)
        if len(wave):
            stream = container.add_stream(codec, rate=rate, layout=layout)
            resampler = av.AudioResampler(
                stream.format, layout, rate, stream.frame_size or None
            )
            frames = [*resampler.resample(frame), *resampler.resample(None), None]
            for part in frames:
                container.mux(stream.encode(part))
    return buffer.getvalue()


def _write_video(container, video):
    stream = container.add_stream("ffv1", rate=10)
    stream.height, stream.width = video.shape[1:3]
    stream.pix_fmt = "bgr0"
    for image in video:
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    container.mux(stream.encode(None))
