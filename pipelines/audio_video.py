"""The recipe of videos with sound: clips, and what is heard during them."""

import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from pipelines import audio_ops, video_ops
from pipelines.audio import (
    HIGHEST_RATE,
    NUM_LOOKED_AT,
    AudioRecipe,
    check_wave,
    look_at_sounds,
)
from pipelines.checks import check_integer
from pipelines.dataset import chain
from pipelines.errors import read_first
from pipelines.recipe import Recipe
from pipelines.sources.arrays import check_image_array
from pipelines.sources.modalities import MODALITIES
from pipelines.video import VideoRecipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioVideoRecipe(Recipe):
    """Clips and their sound: a dict with "video" as `VideoRecipe` makes it and "audio"
    as `AudioRecipe` does. The sound begins when the clip does; if it is the longer of
    the two, as much earlier as it takes not to outlast the video.

    Args:
        audio: `AudioRecipe`, or a dict of its fields.
        video: `VideoRecipe`, or a dict of its fields.
        num_eval_clips: int, K. With more than one, evaluation has K clips with their
            sounds, `(K, ...)` each, as `VideoRecipe` has them; the two recipes
            themselves have one.

    Raises:
        ValueError: if an argument is out of its range.
    """

    modality: ClassVar[str] = "audio_video"
    inputs: ClassVar[tuple[str, ...]] = ("audio", "video")
    mixing: ClassVar[tuple[str, ...]] = ("mixup",)

    audio: AudioRecipe
    video: VideoRecipe
    num_eval_clips: int = 1

    def __post_init__(self):
        super().__post_init__()
        # As recipes, from whatever a config or a JSON file has.
        for name, kind in (("audio", AudioRecipe), ("video", VideoRecipe)):
            own = getattr(self, name)
            if not isinstance(own, kind):
                object.__setattr__(self, name, kind(**own))
            if getattr(self, name).num_eval_clips != 1:
                raise ValueError(
                    "`num_eval_clips` belongs to videos and their sounds together, "
                    f"not to one of them. Received: `{name}` with "
                    f"num_eval_clips={getattr(self, name).num_eval_clips!r}"
                )
        check_integer("num_eval_clips", self.num_eval_clips, 1)

    @classmethod
    def from_source(
        cls,
        source,
        skip_unreadable=False,
        *,
        audio=None,
        video=None,
        num_eval_clips=1,
    ):
        """A recipe whose fields are found from the first videos, where not given.

        Args:
            source: `Source` of videos with sound.
            skip_unreadable: bool, whether videos that cannot be read are passed over.
            audio, video: dicts of fields of the two recipes. By default they are as in
                `AudioRecipe.from_source` and `VideoRecipe.from_source`, but that the
                sound is as long as a clip, and clips of files have a `frame_rate`.
            num_eval_clips: int.

        Raises:
            ValueError: if a value is out of its range, or a video cannot be decoded or
                has no sound.
        """
        audio = {
            key: value for key, value in (audio or {}).items() if value is not None
        }
        given = {
            key: value for key, value in (video or {}).items() if value is not None
        }
        if not {"rate", "num_samples"} <= audio.keys():
            rates, _ = look_at_sounds(source, skip_unreadable)
            audio.setdefault("rate", min(HIGHEST_RATE, int(rates.min())))
        video = VideoRecipe.from_source(source, skip_unreadable, **given)
        look = chain([_pace_by_sound, video_ops.probe()])
        paces = read_first(
            source,
            lambda example: look(example)["frame_rate"],
            MODALITIES[cls.modality].noun,
            count=NUM_LOOKED_AT,
            skip_unreadable=skip_unreadable,
        )
        pace = float(np.median(paces))
        in_memory = "video" in source.dataset.element_spec
        if not in_memory and not {"frame_stride", "frame_rate"} & given.keys():
            pace = round(pace / video.frame_stride, 3)
            video = dataclasses.replace(video, frame_stride=None, frame_rate=pace)
        seconds = video.num_frames / (video.frame_rate or pace / video.frame_stride)
        check_integer("rate", audio["rate"], 1)
        audio.setdefault("num_samples", max(1, round(seconds * audio["rate"])))
        audio = AudioRecipe.from_source(source, skip_unreadable, **audio)
        return cls(audio=audio, video=video, num_eval_clips=num_eval_clips)

    def training_ops(self, cache=False, *, audio=None, video=None):
        """See `Recipe.training_ops`.

        Args:
            cache: bool, whether decoded sounds and frames will be kept in memory.
            audio: dict, augmentation as `AudioRecipe.training_ops` takes it.
            video: dict, augmentation as `VideoRecipe.training_ops` takes it.
        """
        decode, audio_ops_ = self.audio.training_ops(cache=True, **(audio or {}))
        cached, video_ops_ = self.video.training_ops(cache=cache, **(video or {}))
        decode = [_pace_by_sound, *map(_keeping_the_file, decode)]
        ops = [*video_ops_, self._cut, *audio_ops_]
        return ([*decode, *cached], ops) if cache else ([], [*decode, *ops])

    def evaluation_ops(self):
        clips = dataclasses.replace(self.video, num_eval_clips=self.num_eval_clips)
        return [
            _pace_by_sound,
            _keeping_the_file(audio_ops.decode_audio(self.audio.rate)),
            *clips.evaluation_ops(),
            self._cut,
            *self.audio.clip_ops(),
        ]

    def checking_ops(self):
        return [
            *map(_keeping_the_file, self.audio.checking_ops()),
            *self.video.checking_ops(),
        ]

    def example(self, item):
        """The example of a dict with "video", an array (T, H, W) or (T, H, W,
        channels), "audio", an array (samples,), and "rate" if it is not the recipe's.
        """
        if not isinstance(item, dict) or not {"audio", "video"} <= item.keys():
            raise ValueError(
                "Videos with sound in memory must be dicts with 'video' and 'audio'. "
                f"Received: {type(item).__name__}"
            )
        rate = item.get("rate", self.audio.rate)
        check_integer("rate", rate, 1)
        return {
            "video": tf.constant(check_image_array(item["video"], rank=4)),
            "audio": tf.constant(check_wave(item["audio"])),
            "rate": tf.constant(int(rate)),
        }

    def describe(self):
        return f"{self.video.describe()}, with {self.audio.describe()}"

    def _cut(self, example):
        """Keeps what is heard with a clip, or with each clip."""
        first = tf.cast(example["frames"][..., 0], tf.float32)
        last_start = example["seconds"] - self.audio.num_samples / self.audio.rate
        start = tf.minimum(first / example["frame_rate"], tf.maximum(last_start, 0.0))
        return audio_ops.cut(self.audio.num_samples)({**example, "start": start})


def _pace_by_sound(example):
    """Lets a video in memory, which has no frame rate, last as long as its sound."""
    if "video" not in example or "frame_rate" in example:
        return example
    frames = tf.cast(tf.shape(example["video"])[0], tf.float32)
    seconds = tf.size(example["audio"]) / example["rate"]
    return {**example, "frame_rate": frames / tf.cast(seconds, tf.float32)}


def _keeping_the_file(op):
    """A step that takes a file, as one which leaves it to the steps that follow."""

    def apply(example):
        file = {key: example[key] for key in ("encoded",) if key in example}
        return {**op(example), **file}

    return apply
