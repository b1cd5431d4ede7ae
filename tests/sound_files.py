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
        # All streams come before the first packet.
        if video is not None:
            pictures = container.add_stream("ffv1", rate=10)
            pictures.height, pictures.width = video.shape[1:3]
            pictures.pix_fmt = "bgr0"
        if len(wave):
            sound = container.add_stream(codec, rate=rate, layout=layout)
        if video is not None:
            images = [av.VideoFrame.from_ndarray(x, format="rgb24") for x in video]
            for image in [*images, None]:
                container.mux(pictures.encode(image))
        if len(wave):
            resampler = av.AudioResampler(
                sound.format, layout, rate, sound.frame_size or None
            )
            frames = [*resampler.resample(frame), *resampler.resample(None), None]
            for part in frames:
                container.mux(sound.encode(part))
    return buffer.getvalue()
