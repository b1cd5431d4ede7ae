"""Steps that one video goes through on its way into a batch.

Each factory returns a pure function from an example, a dict of tensors, to an example,
as in `image_ops`. What to read is settled before anything is read, so that of a long
file only a clip is decoded, and of its frames only a box:

    probe -> random_clip | middle_clips -> whole_frames | middle_box | random_box
          -> read -> random_shift, flip_left_right, colour_jitter -> scale

Videos are (T, H, W, channels), uint8 of values 0..255 or float32 of values in [0, 1],
until `scale` ends the list. Random steps draw from `example["seed"]` alone, once for
all frames of a clip.
"""

import numpy as np
import tensorflow as tf

from pipelines import image_ops, video_files
from pipelines.seeds import op_seed


def probe():
    """Makes the step that looks up what a video holds.

    Takes `example["video"]`, or else `example["encoded"]`, the bytes of a video file,
    or the file at `example["path"]`.

    Returns:
        Function from example to example with "video_shape", int32 (frames, height,
        width, channels), "frame_rate", float32 frames per second: NaN for a video in
        memory that has no "frame_rate" yet; and how many "seconds" that makes.
    """

    def apply(example):
        if "video" in example:
            shape = tf.shape(example["video"])
            frame_rate = example.get("frame_rate", tf.constant(np.nan, tf.float32))
        else:
            shape, frame_rate = video_files.probe(**_file(example))
        seconds = tf.cast(shape[0], tf.float32) / frame_rate
        probed = {"video_shape": shape, "frame_rate": frame_rate, "seconds": seconds}
        return {**example, **probed}

    return apply


def random_clip(num_frames, *, frame_stride=1, frame_rate=None):
    """Makes the step that chooses a clip anywhere in the video.

    Args:
        num_frames: int, T.
        frame_stride: int, every how many frames of the video one is taken.
        frame_rate: float, frames per second of the clip, in place of a stride. Only
            for videos that have a rate of their own.

    Returns:
        Function from probed example to example with "frames", int32 (T,). Where the
        video is too short, its last frame is held.
    """

    def apply(example):
        seed = op_seed(example, "random_clip")
        place = tf.random.stateless_uniform((1,), seed, dtype=tf.float64)
        frames = _clips_at(example, place, num_frames, frame_stride, frame_rate)
        return {**example, "frames": frames[0]}

    return apply


def middle_clips(num_frames, num_clips=None, *, frame_stride=1, frame_rate=None):
    """Makes the step that chooses the clip in the middle, or clips all over the video.

    Args:
        num_frames: int, T.
        num_clips: int, K, how many clips, from the first possible to the last, at
            equal distances; they overlap as they must. The paper averages over 16
            (section 4.2). None for the middle clip alone.
        frame_stride: int, every how many frames of the video one is taken.
        frame_rate: float, frames per second of the clips, in place of a stride.

    Returns:
        Function from probed example to example with "frames", int32 (T,), or (K, T)
        where a number of clips is given.
    """
    places = [0.5] if num_clips in (None, 1) else np.linspace(0, 1, num_clips)
    places = tf.constant(places, tf.float64)

    def apply(example):
        frames = _clips_at(example, places, num_frames, frame_stride, frame_rate)
        return {**example, "frames": frames[0] if num_clips is None else frames}

    return apply


def all_frames():
    """Makes the step that chooses every frame of the video.

    Returns:
        Function from probed example to example with "frames", int32 (frames,).
    """

    def apply(example):
        return {**example, "frames": tf.range(example["video_shape"][0])}

    return apply


def whole_frames():
    """Makes the step that keeps frames as they are.

    Returns:
        Function from probed example to example with "box", int32 (top, left, height,
        width).
    """

    def apply(example):
        _, height, width, _ = tf.unstack(example["video_shape"])
        return {**example, "box": tf.stack([0, 0, height, width])}

    return apply


def middle_box(size):
    """Makes the step that keeps the middle of the frames, as ImageNet is evaluated.

    The largest box of the aspect of `size`, 224/256 of it.

    Args:
        size: (height, width).

    Returns:
        Function from probed example to example with "box", int32 (top, left, height,
        width).
    """

    def apply(example):
        shape = tf.cast(example["video_shape"][1:3], tf.float32)
        target = tf.constant(size, tf.float32)
        factor = tf.reduce_min(shape / target) * image_ops.CENTER_CROP_FRACTION
        extent = tf.maximum(tf.round(target * factor), 1)
        begin = tf.floor((shape - extent) / 2)
        box = tf.cast(tf.concat([begin, extent], axis=0), tf.int32)
        return {**example, "box": box}

    return apply


def random_box(*, area=(0.08, 1.0), aspect=(3 / 4, 4 / 3)):
    """Makes the step that chooses a random box, the same for all frames.

    Args:
        area: (low, high), the range of the box's part of the frame's area.
        aspect: (low, high), the range of the box's width / height.

    Returns:
        Function from probed example to example with "box", int32 (top, left, height,
        width).
    """

    def apply(example):
        box = image_ops.inception_box(
            example, example["video_shape"][1:], area=area, aspect=aspect
        )
        return {**example, "box": tf.stack(box)}

    return apply


def read(size, channels):
    """Makes the step that reads the frames and the box that were chosen.

    Args:
        size: (height, width), what the box is resized to, antialiased.
        channels: 1 to turn colour into grey, 3 to turn grey into colour.

    Returns:
        Function from example with "frames" and "box" to example with "video", of
        shape (*frames.shape, height, width, channels): uint8, or float32 in [0, 1] if
        it was that already.
    """

    def read_array(video, frames, box):
        top, left, height, width = tf.unstack(box)
        clip = tf.gather(video, tf.reshape(frames, (-1,)))
        clip = clip[:, top : top + height, left : left + width]
        clip = image_ops.resize_pixels(clip, size)
        clip = _convert_channels(clip, channels)
        return tf.reshape(clip, tf.concat([tf.shape(frames), tf.shape(clip)[1:]], 0))

    def apply(example):
        example = dict(example)
        frames, box = example["frames"], example.pop("box")
        del example["video_shape"]  # It no longer holds.
        if "video" in example:
            clip = read_array(example["video"], frames, box)
        else:
            clip = video_files.read(
                **_file(example),
                positions=frames,
                box=box,
                size=size,
                channels=channels,
            )
            example.pop("encoded", None)
        clip = tf.ensure_shape(clip, (*frames.shape, *size, channels))
        return {**example, "video": clip}

    return apply


def random_shift(max_pixels, *, wrap=False):
    """Makes the step that moves all frames of a clip alike, by whole pixels.

    Args:
        max_pixels: int, the farthest move in each direction.
        wrap: bool, whether what leaves on one side enters on the other; else what
            enters is black.

    Returns:
        Function from example to example.
    """

    def apply(example):
        video = example["video"]
        seed = op_seed(example, "random_shift")
        offset = tf.random.stateless_uniform(
            (2,), seed, -max_pixels, max_pixels + 1, tf.int32
        )
        if wrap:
            moved = tf.roll(video, offset, axis=(1, 2))
        else:
            margin = (max_pixels, max_pixels)
            padded = tf.pad(video, ((0, 0), margin, margin, (0, 0)))
            begin = tf.concat([[0], max_pixels - offset, [0]], axis=0)
            moved = tf.slice(padded, begin, tf.shape(video))
        return {**example, "video": tf.ensure_shape(moved, video.shape)}

    return apply


def flip_left_right():
    """Makes the step that mirrors a clip half of the time.

    Returns:
        Function from example to example.
    """
    return _as_one_image(image_ops.flip_left_right())


def colour_jitter(**strengths):
    """Makes the step that changes the colours of a clip, all frames alike.

    Args:
        **strengths: as for `image_ops.colour_jitter`.

    Returns:
        Function from example to example with a float32 clip in [0, 1].
    """
    return _on_clips(image_ops.colour_jitter(**strengths))


def scale(low=-1.0, high=1.0):
    """Makes the step that maps pixel values to [low, high].

    Args:
        low: float, what black becomes.
        high: float, what white becomes.

    Returns:
        Function from example to example with a float32 video.
    """
    return _on_clips(image_ops.scale(low, high))


def _file(example):
    is_path = "encoded" not in example
    video = example["path"] if is_path else example["encoded"]
    return {"video": video, "is_path": is_path}


def _clips_at(example, places, num_frames, frame_stride, frame_rate):
    """The frames of clips, int32 (K, num_frames).

    Args:
        example: probed example.
        places: float64 (K,) in [0, 1]: 0 for the first clip possible, 1 for the last.
        num_frames: int.
        frame_stride: int.
        frame_rate: float or None.
    """
    total = tf.cast(example["video_shape"][0], tf.float64)
    step = tf.constant(frame_stride, tf.float64)
    if frame_rate is not None:
        step = tf.cast(example["frame_rate"], tf.float64) / frame_rate
    # A rate such as 29.97 must not lose a frame to rounding.
    offsets = tf.floor(tf.range(num_frames, dtype=tf.float64) * step + 1e-3)
    num_starts = tf.maximum(total - offsets[-1], 1)
    starts = tf.minimum(tf.floor(places * num_starts), num_starts - 1)
    frames = tf.minimum(starts[:, None] + offsets, total - 1)
    return tf.cast(frames, tf.int32)


def _on_clips(image_op):
    """A step on images of any rank as one on clips."""

    def apply(example):
        image = image_op({**example, "image": example["video"]})["image"]
        return {**example, "video": image}

    return apply


def _as_one_image(image_op):
    """A step on images, of those which see columns alone, as one on clips."""

    def apply(example):
        video = example["video"]
        tall = tf.reshape(video, (-1, *video.shape[2:]))
        image = image_op({**example, "image": tall})["image"]
        return {**example, "video": tf.reshape(image, tf.shape(video))}

    return apply


def _convert_channels(video, channels):
    """`convert_channels` of the frames, one below the other."""
    shape = tf.shape(video)
    tall = tf.reshape(video, (-1, shape[2], shape[3]))
    tall = image_ops.convert_channels(tall, channels)
    return tf.reshape(tall, (*tf.unstack(shape)[:3], channels))
