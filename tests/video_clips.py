"""Small video files for tests, whose frames show their number."""

import fractions

import av
import numpy as np

_BITS = 12


def numbered_frames(count):
    """Frames that show their number as a row of 12 bright or dark bars.

    Args:
        count: int.

    Returns:
        uint8 array (count, 32, 64, 3).
    """
    bits = np.arange(count)[:, None] >> np.arange(_BITS) & 1
    bars = np.repeat(40 + 170 * bits.astype(np.uint8), 5, axis=1)
    bars = np.pad(bars, ((0, 0), (2, 2)), mode="edge")
    return np.broadcast_to(bars[:, None, :, None], (count, 32, 64, 3)).copy()


def read_numbers(frames):
    """The numbers that frames show, whatever a codec has made of them."""
    bars = frames.mean(axis=(-3, -1))[:, 2:-2].reshape(len(frames), _BITS, 5)
    bits = bars.mean(axis=-1) > 125
    return (bits @ (1 << np.arange(_BITS))).tolist()


def write_video(
    file,
    frames,
    *,
    codec,
    pixels=None,
    rate=25,
    gop=None,
    rotation=0,
    times=None,
    options=None,
    file_format=None,
):
    """Encodes frames.

    Args:
        file: path, or a binary file to write to.
        frames: uint8 array (T, height, width, 1 | 3).
        codec: str, FFmpeg's name.
        pixels: str, FFmpeg's name of the pixel format of the file.
        rate: int, frames per second.
        gop: int, the distance of key frames.
        rotation: int, degrees counterclockwise that a player turns the frames.
        times: sequence of int, when each frame is shown, in steps of 1 / rate.
        options: dict of str, of the container.
        file_format: str, the container, where the name does not tell.

    Returns:
        `file`.
    """
    target = file if hasattr(file, "write") else str(file)
    with av.open(target, "w", format=file_format, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        default = "bgr0" if codec == "ffv1" else "yuv420p"
        stream.pix_fmt = pixels or default
        if gop:
            stream.gop_size = gop
        if rotation:
            stream.set_display_rotation(rotation)
        grey = frames.shape[-1] == 1
        for number, pixels_of_frame in enumerate(frames):
            array = pixels_of_frame[..., 0] if grey else pixels_of_frame
            frame = av.VideoFrame.from_ndarray(array, "gray" if grey else "rgb24")
            if times is not None:
                frame.pts = times[number]
                frame.time_base = fractions.Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file
