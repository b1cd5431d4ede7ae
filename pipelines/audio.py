"""The audio recipe: from a source of sounds to waves or spectrograms for a model."""

import dataclasses
import math
from typing import ClassVar

import numpy as np
import tensorflow as tf

from pipelines import audio_files, audio_ops
from pipelines.checks import check_choice, check_integer, check_range
from pipelines.dataset import chain
from pipelines.errors import read_first
from pipelines.recipe import Recipe
from pipelines.sources.modalities import MODALITIES

REPRESENTATIONS = ("wave", "mel")
# What two processor cores can learn from.
HIGHEST_RATE = 16_000
MOST_SECONDS = 10.0
MOST_FRAMES = 128
NUM_MEL_BINS = 40
SHORTEST_STEP = 0.01  # Seconds, as in speech recognition,
WINDOW = 2.5  # steps long: 25 ms.
NOISE_SPREAD_DB = 30.0
# A default length that this part of the sounds fit in.
PART_THAT_FITS = 0.95
# How many sounds a recipe looks at to find its fields.
NUM_LOOKED_AT = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioRecipe(Recipe):
    """Sounds of one length: a float32 wave `(num_samples,)`, or its log-mel
    spectrogram `(num_frames, num_mel_bins)`.

    In training a shorter sound lies anywhere amid silence, and of a longer one any part
    is taken; in evaluation the middle. Each clip is brought to a peak of 1, and a wave
    then to a root mean square of 1, so that it counts as much as its positions do.

    Args:
        rate: int, samples per second, to which sounds are resampled.
        num_samples: int.
        representation: "wave" or "mel".
        mu: int, of the mu-law that lifts what is quiet in waves; 255 is that of
            telephony. 0 for waves as they are, and for spectrograms.
        num_mel_bins: int; this and the following are `None` for waves.
        frame_length: int, samples of a window.
        frame_step: int, samples from one window to the next.
        mel_mean, mel_std: floats, with which spectrograms are standardized.
        num_eval_clips: int, K. With more than one, evaluation has K clips at equal
            distances all over the sound, `(K, num_samples)` or `(K, num_frames,
            num_mel_bins)`, whose predictions are to be averaged.

    Raises:
        ValueError: if an argument is out of its range.
    """

    modality: ClassVar[str] = "audio"
    inputs: ClassVar[str] = "audio"
    mixing: ClassVar[tuple[str, ...]] = ("mixup",)

    rate: int
    num_samples: int
    representation: str = "wave"
    mu: int = 0
    num_mel_bins: int | None = None
    frame_length: int | None = None
    frame_step: int | None = None
    mel_mean: float | None = None
    mel_std: float | None = None
    num_eval_clips: int = 1

    def __post_init__(self):
        super().__post_init__()
        check_integer("rate", self.rate, 1)
        check_integer("num_samples", self.num_samples, 1)
        check_integer("mu", self.mu, 0)
        check_integer("num_eval_clips", self.num_eval_clips, 1)
        check_choice("representation", self.representation, REPRESENTATIONS)
        of_mel = {name: getattr(self, name) for name in _OF_MEL}
        if self.representation == "wave":
            if any(value is not None for value in of_mel.values()):
                raise ValueError(
                    "Waves have no spectrogram, so its fields must be None. "
                    f"Received: {of_mel}"
                )
            return
        if self.mu:
            raise ValueError(
                "`mu` is for representation='wave'; spectrograms are logarithms. "
                f"Received: mu={self.mu}"
            )
        for name in ("num_mel_bins", "frame_length", "frame_step"):
            check_integer(name, of_mel[name], 1)
        check_range(-math.inf, math.inf, mel_mean=self.mel_mean)
        check_range(0, math.inf, mel_std=self.mel_std)

    @property
    def num_frames(self):
        """Frames of a spectrogram; `None` for waves."""
        if self.representation == "wave":
            return None
        return math.ceil(self.num_samples / self.frame_step)

    @classmethod
    def from_source(cls, source, skip_unreadable=False, **given):
        """A recipe whose fields are found from the first sounds, where not given.

        Args:
            source: `Source` of sounds, or of videos with sound.
            skip_unreadable: bool, whether those that cannot be read are passed over.
            **given: values of fields. By default `rate` is the lowest rate of the
                sounds, at most 16 kHz; `num_samples` is a length that 95% of them fit
                in, at most 10 seconds; there are 40 `num_mel_bins`, and windows of
                25 ms every 10 ms, or longer where there would be over 128 of them;
                `mel_mean` and `mel_std` are those of the sounds.

        Raises:
            ValueError: if a value is out of its range, or a sound cannot be decoded.
        """
        given = {name: value for name, value in given.items() if value is not None}
        if not {"rate", "num_samples"} <= given.keys():
            rates, seconds = look_at_sounds(source, skip_unreadable)
            given.setdefault("rate", min(HIGHEST_RATE, int(rates.min())))
            check_integer("rate", given["rate"], 1)
            fits = min(MOST_SECONDS, np.quantile(seconds, PART_THAT_FITS))
            given.setdefault("num_samples", max(1, round(fits * given["rate"])))
        if given.get("representation") != "mel":
            return cls(**given)
        check_integer("num_samples", given["num_samples"], 1)
        given.setdefault("num_mel_bins", NUM_MEL_BINS)
        step = max(
            round(SHORTEST_STEP * given["rate"]),
            math.ceil(given["num_samples"] / MOST_FRAMES),
        )
        given.setdefault("frame_step", step)
        given.setdefault("frame_length", round(WINDOW * given["frame_step"]))
        if not {"mel_mean", "mel_std"} <= given.keys():
            raw = cls(**{**given, "mel_mean": 0.0, "mel_std": 1.0})
            make = chain(raw.with_one_clip().evaluation_ops())
            mels = read_first(
                source,
                lambda example: make(example)["audio"],
                MODALITIES["audio"].noun,
                count=NUM_LOOKED_AT,
                skip_unreadable=skip_unreadable,
            )
            given.setdefault("mel_mean", round(float(np.mean(mels)), 3))
            # Of nothing but silence it is 0.
            given.setdefault("mel_std", round(float(np.std(mels)), 3) or 1.0)
        return cls(**given)

    def training_ops(
        self,
        cache=False,
        *,
        speed=0.0,
        shift_seconds=0.0,
        gain_db=0.0,
        noise_db=None,
        time_mask=0.0,
        frequency_mask=0.0,
    ):
        """See `Recipe.training_ops`.

        Args:
            cache: bool, whether the decoded sounds will be kept in memory.
            speed: float in [0, 1), how much faster or slower sounds are played.
            shift_seconds: float, how far sounds move at random.
            gain_db: float, decibels by which sounds become quieter at most.
            noise_db: float, decibels that the sound is louder than white noise at
                least, and at most 30 more; None for no noise.
            time_mask, frequency_mask: floats in [0, 1), the largest part of a
                spectrogram that one of two stripes hides; 0 for waves.
        """
        check_range(0, 1, speed=speed)
        check_range(0, math.inf, shift_seconds=shift_seconds, gain_db=gain_db)
        check_range(0, 1, time_mask=time_mask, frequency_mask=frequency_mask)
        if noise_db is not None:
            check_range(-math.inf, math.inf, noise_db=noise_db)
        is_masked = time_mask > 0 or frequency_mask > 0
        if is_masked and self.representation == "wave":
            raise ValueError(
                "`time_mask` and `frequency_mask` are for representation='mel'. "
                f"Received: time_mask={time_mask}, frequency_mask={frequency_mask}"
            )
        decode = [audio_ops.decode_audio(self.rate)]
        max_shift = round(shift_seconds * self.rate)
        noise = []
        if noise_db is not None:
            noise = [audio_ops.add_noise(noise_db, noise_db + NOISE_SPREAD_DB)]
        ops = [
            *([audio_ops.random_speed(speed)] if speed else []),
            audio_ops.random_fit(self.num_samples),
            *([audio_ops.random_shift(max_shift)] if max_shift else []),
            audio_ops.normalize_peak(),
            *([audio_ops.random_gain(gain_db)] if gain_db else []),
            *noise,
            *self._representation_ops(),
            *([audio_ops.spec_augment(time_mask, frequency_mask)] if is_masked else []),
        ]
        return (decode, ops) if cache else ([], [*decode, *ops])

    def evaluation_ops(self):
        return [audio_ops.decode_audio(self.rate), *self._evaluation_clip_ops()]

    def graph_ops(self):
        return [audio_ops.decode_wav(self.rate), *self._evaluation_clip_ops()]

    def graph_file(self):
        silence = tf.zeros((self.num_samples, 1))
        return tf.audio.encode_wav(silence, self.rate).numpy()

    @property
    def graph_files(self):
        return f"WAV files of 16-bit samples, {self.rate:,} a second"

    def _evaluation_clip_ops(self):
        num_clips = None if self.num_eval_clips == 1 else self.num_eval_clips
        fit = audio_ops.middle_fit(self.num_samples, num_clips)
        return [fit, *self.clip_ops()]

    def clip_ops(self):
        """The steps from one clip of sound, or several, to what a model reads."""
        return [audio_ops.normalize_peak(), *self._representation_ops()]

    def checking_ops(self):
        return [audio_ops.decode_audio(self.rate)]

    def example(self, item):
        """The example of a float array (samples,) in [-1, 1] at the recipe's rate, or
        of a pair (array, rate)."""
        rate = self.rate
        if isinstance(item, tuple) and len(item) == 2:
            item, rate = item
            check_integer("rate", rate, 1)
        return {"audio": tf.constant(check_wave(item)), "rate": tf.constant(int(rate))}

    def describe(self):
        text = f"sounds of {self.num_samples:,} samples at {self.rate / 1000:g} kHz"
        if self.representation == "wave":
            return text
        return f"{text} as {self.num_frames} x {self.num_mel_bins} mel spectrograms"

    def _representation_ops(self):
        if self.representation == "wave":
            compand = [audio_ops.compand(self.mu)] if self.mu else []
            return [*compand, audio_ops.normalize_power()]
        return [
            audio_ops.log_mel(
                self.rate,
                num_bins=self.num_mel_bins,
                frame_length=self.frame_length,
                frame_step=self.frame_step,
            ),
            audio_ops.standardize(self.mel_mean, self.mel_std),
        ]


_OF_MEL = ("num_mel_bins", "frame_length", "frame_step", "mel_mean", "mel_std")


def check_wave(wave):
    """Checks a wave in memory.

    Args:
        wave: float array (samples,), values in [-1, 1].

    Returns:
        float32 array.

    Raises:
        ValueError: if it is no such array.
    """
    wave = np.asarray(wave)
    if not np.issubdtype(wave.dtype, np.floating) or wave.ndim != 1 or not wave.size:
        raise ValueError(
            "Sounds must be float arrays of shape (samples,) with values in [-1, 1]; "
            "average the channels, and divide 16-bit samples by 32768. "
            f"Received: shape={wave.shape}, dtype={wave.dtype}"
        )
    low, high = wave.min(), wave.max()
    if not (low >= -1 and high <= 1):  # Written so that NaN fails as well.
        raise ValueError(
            f"Sounds must lie in [-1, 1]. Received: values from {low} to {high}"
        )
    return wave.astype(np.float32)


def look_at_sounds(source, skip_unreadable=False):
    """Rates, int32 (n,), and seconds, float32 (n,), of the first sounds."""

    def look(example):
        if "audio" in example:
            seconds = tf.size(example["audio"]) / example["rate"]
            return example["rate"], tf.cast(seconds, tf.float32)
        is_path = "encoded" not in example
        file = example["path"] if is_path else example["encoded"]
        return audio_files.probe(file, is_path=is_path)

    found = read_first(
        source,
        look,
        MODALITIES["audio"].noun,
        count=NUM_LOOKED_AT,
        skip_unreadable=skip_unreadable,
    )
    return tuple(np.array(column) for column in zip(*found, strict=True))
