"""The video recipe: from a source of videos to batches of clips for a model."""

import dataclasses
import math
import numbers
from typing import ClassVar

import numpy as np
import tensorflow as tf

from pipelines import video_ops
from pipelines.checks import check_choice, check_integer
from pipelines.errors import read_first
from pipelines.image import (
    CROPS,
    check_colours,
    check_image_size,
    check_value_range,
)
from pipelines.recipe import Recipe
from pipelines.sources.arrays import check_image_array

# Clips of a length and a size that two processor cores can learn from: 16 frames of
# 48 x 48 are 36,864 inputs. Videos that are no larger keep theirs.
MOST_FRAMES = 16
DEFAULT_SIZE = (48, 48)
LARGEST_KEPT_SIDE = 48
# A default clip spans this part of a video at most, so that there is a choice of clips.
PART_OF_VIDEO = 0.5
# Of this part of the videos a default clip may be longer, and holds their last frame:
# a few stumps must not decide for all.
PART_TOO_SHORT = 0.05
# How many videos a recipe looks at to find its fields.
NUM_LOOKED_AT = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoRecipe(Recipe):
    """Clips of one shape, float32 `(num_frames, height, width, channels)`.

    In training a clip begins anywhere in its video; in evaluation it is the middle
    one. Of a video that is too short the last frame is held.

    Args:
        num_frames: int, T.
        frame_stride: int, every how many frames of the video one is taken; `None`
            where there is a `frame_rate`.
        frame_rate: float, frames of the clip per second, whatever the video's own
            rate. Videos in memory have none. `None` where there is a `frame_stride`.
        image_size: (height, width) of the frames.
        channels: 1 or 3.
        crop: "resize" for whole frames; "central" for their middle, 224/256 of it;
            "inception" for random boxes, the same for all frames of a clip, in
            training, and that middle in evaluation.
        num_eval_clips: int, K. With more than one, evaluation has K clips at equal
            distances all over the video, `(K, num_frames, height, width, channels)`,
            whose predictions are to be averaged; the paper has 16 (section 4.2).
        value_range: (low, high), what black and white become.

    Raises:
        ValueError: if an argument is out of its range.
    """

    modality: ClassVar[str] = "video"
    inputs: ClassVar[str] = "video"
    mixing: ClassVar[tuple[str, ...]] = ("mixup", "cutmix")

    num_frames: int
    frame_stride: int | None = None
    frame_rate: float | None = None
    image_size: tuple[int, int]
    channels: int
    crop: str = "resize"
    num_eval_clips: int = 1
    value_range: tuple[float, float] = (-1.0, 1.0)

    def __post_init__(self):
        super().__post_init__()
        check_integer("num_frames", self.num_frames, 1)
        check_integer("num_eval_clips", self.num_eval_clips, 1)
        check_image_size(self.image_size)
        check_choice("channels", self.channels, (1, 3))
        check_choice("crop", self.crop, CROPS)
        check_value_range(self.value_range)
        if (self.frame_stride is None) == (self.frame_rate is None):
            raise ValueError(
                "Either `frame_stride` or `frame_rate` must be given. Received: "
                f"frame_stride={self.frame_stride!r}, frame_rate={self.frame_rate!r}"
            )
        if self.frame_rate is None:
            check_integer("frame_stride", self.frame_stride, 1)
        elif not (
            isinstance(self.frame_rate, numbers.Real) and 0 < self.frame_rate < math.inf
        ):
            raise ValueError(
                "`frame_rate` must be a positive number of frames per second. "
                f"Received: frame_rate={self.frame_rate!r}"
            )

    @classmethod
    def from_source(cls, source, skip_unreadable=False, **given):
        """A recipe whose fields are found from the first videos, where not given.

        Args:
            source: `Source` of videos.
            skip_unreadable: bool, whether those that cannot be read are passed over.
            **given: values of fields. By default `num_frames` is the length that 95%
                of the videos have, at most 16; `frame_stride` is such that a clip
                spans about half of that length where it is longer than a clip;
                `image_size` is the size that the videos share where it is at most 48
                a side, else 48 x 48; `channels` is 1 if all of them are grey, else 3.

        Raises:
            ValueError: if a value is out of its range, a video cannot be decoded, or
                a `frame_rate` is asked of videos in memory.
        """
        given = {name: value for name, value in given.items() if value is not None}
        if "frame_rate" in given and "video" in source.dataset.element_spec:
            raise ValueError(
                "`frame_rate` needs video files, which have a rate of their own; give "
                "`frame_stride` for videos in memory. "
                f"Received: frame_rate={given['frame_rate']!r} for {source.name}"
            )
        shapes = _look_at(source, skip_unreadable)
        shortest = int(np.quantile(shapes[:, 0], PART_TOO_SHORT))
        given.setdefault("num_frames", min(shortest, MOST_FRAMES))
        if not {"frame_stride", "frame_rate"} & given.keys():
            check_integer("num_frames", given["num_frames"], 1)
            stride = int(shortest * PART_OF_VIDEO / given["num_frames"])
            given["frame_stride"] = max(1, stride)
        sizes = np.unique(shapes[:, 1:3], axis=0)
        keeps_size = len(sizes) == 1 and sizes.max() <= LARGEST_KEPT_SIDE
        size = tuple(sizes[0].tolist()) if keeps_size else DEFAULT_SIZE
        given.setdefault("image_size", size)
        given.setdefault("channels", 1 if shapes[:, 3].max() < 3 else 3)
        return cls(**given)

    def training_ops(
        self,
        cache=False,
        *,
        shift_pixels=0,
        wrap=False,
        flip=False,
        brightness=0.0,
        contrast=0.0,
        saturation=0.0,
        hue=0.0,
    ):
        """See `Recipe.training_ops`.

        Args:
            cache: bool, whether all frames, resized, will be kept in memory; not
                with `crop="inception"`.
            shift_pixels: int, how far clips move at random.
            wrap: bool, whether what a shift moves out on one side enters on the
                other; else what enters is black.
            flip: bool, whether half of the clips are mirrored.
            brightness, contrast, saturation: floats in [0, 1), how far colours change
                at random, see `image_ops.colour_jitter`.
            hue: float in [0, 0.5], the same.
        """
        check_integer("shift_pixels", shift_pixels, 0)
        if shift_pixels >= min(self.image_size):
            raise ValueError(
                "`shift_pixels` must be less than both sides of a frame, "
                f"{self.image_size}. Received: shift_pixels={shift_pixels!r}"
            )
        colours = check_colours(
            brightness=brightness, contrast=contrast, saturation=saturation, hue=hue
        )
        if cache and self.crop == "inception":
            raise ValueError(
                "`cache` keeps resized frames, so it must be False with "
                f"crop='inception'. Received: cache={cache!r}"
            )
        random_clip = video_ops.random_clip(self.num_frames, **self._step)
        cached_ops, box = [], self._box()
        if cache:
            # What is read again, out of the frames that were kept, is whole.
            cached_ops = self._read(video_ops.all_frames(), box)
            box = video_ops.whole_frames()
        elif self.crop == "inception":
            box = video_ops.random_box()
        return cached_ops, [
            *self._read(random_clip, box),
            *(
                [video_ops.random_shift(shift_pixels, wrap=wrap)]
                if shift_pixels
                else []
            ),
            *([video_ops.flip_left_right()] if flip else []),
            *([video_ops.colour_jitter(**colours)] if any(colours.values()) else []),
            video_ops.scale(*self.value_range),
        ]

    def evaluation_ops(self):
        num_clips = None if self.num_eval_clips == 1 else self.num_eval_clips
        clips = video_ops.middle_clips(self.num_frames, num_clips, **self._step)
        return [*self._read(clips, self._box()), video_ops.scale(*self.value_range)]

    def checking_ops(self):
        """All frames of a video, of which any may be wanted, and hardly a pixel."""
        return [
            video_ops.probe(),
            video_ops.all_frames(),
            video_ops.whole_frames(),
            video_ops.read((1, 1), 1),
        ]

    def example(self, item):
        """The example of an array: (T, H, W) or (T, H, W, channels), uint8, or float
        in [0, 1]."""
        return {"video": tf.constant(check_image_array(item, rank=4))}

    def describe(self):
        size = " x ".join(map(str, (*self.image_size, self.channels)))
        if self.num_frames == 1:
            return f"single frames of {size}"
        if self.frame_rate is not None:
            pace = f"{self.frame_rate:g} frames per second"
        elif self.frame_stride == 1:
            pace = "every frame"
        else:
            pace = f"one frame in {self.frame_stride}"
        return f"clips of {self.num_frames} frames of {size}, {pace}"

    @property
    def _step(self):
        if self.frame_rate is None:
            return {"frame_stride": self.frame_stride}
        return {"frame_rate": self.frame_rate}

    def _box(self):
        if self.crop == "resize":
            return video_ops.whole_frames()
        return video_ops.middle_box(self.image_size)

    def _read(self, frames, box):
        return [
            video_ops.probe(),
            frames,
            box,
            video_ops.read(self.image_size, self.channels),
        ]


def _look_at(source, skip_unreadable):
    """Shapes of the first videos, int32 (n, 4)."""
    look = video_ops.probe()
    shapes = read_first(
        source,
        lambda example: look(example)["video_shape"],
        "video",
        count=NUM_LOOKED_AT,
        skip_unreadable=skip_unreadable,
    )
    return np.array(shapes)
