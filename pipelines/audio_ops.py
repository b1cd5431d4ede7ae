"""Steps that one sound goes through on its way into a batch.

Each factory returns a pure function from an example, a dict of tensors, to an example,
as in `image_ops`. Sounds are float32 waves (samples,) in [-1, 1], one channel, at
`example["rate"]` samples per second, until `log_mel` makes a spectrogram of them:

    decode_audio -> random_speed -> random_fit | middle_fit -> normalize_peak
    | decode_wav
          -> random_gain, add_noise -> log_mel -> standardize -> spec_augment
                                | compand -> normalize_power

Random steps draw from `example["seed"]` alone.
"""

import math

import numpy as np
import tensorflow as tf

from pipelines import audio_files, python_ops
from pipelines.seeds import op_seed

# What is quieter is noise of the recording: the logarithm begins here.
MEL_FLOOR = 1e-3
LOWEST_MEL_FREQUENCY = 60.0  # Hz; below it there is hum rather than sound.


def decode_audio(rate):
    """Makes the step that reads, decodes and resamples the sound of an example.

    Takes `example["audio"]` with `example["rate"]`, or else `example["encoded"]`, the
    bytes of a sound or video file, or the file at `example["path"]`.

    Args:
        rate: int, samples per second.

    Returns:
        Function from example to example with "audio", float32 (samples,), and "rate".
    """

    def apply(example):
        example = dict(example)
        if "audio" in example:
            example["audio"] = _resampled(example["audio"], example["rate"], rate)
        elif "encoded" in example:
            encoded = example.pop("encoded")
            example["audio"] = audio_files.read(encoded, rate, is_path=False)
        else:
            example["audio"] = audio_files.read(example["path"], rate, is_path=True)
        example["rate"] = tf.constant(rate, tf.int32)
        return example

    return apply


def decode_wav(rate):
    """Makes the step that decodes a WAV file in operations of TensorFlow alone.

    Takes `example["encoded"]`, the bytes of a file of 16-bit samples, which has the
    rate already: TensorFlow has no filter that resamples as `decode_audio` does.

    Args:
        rate: int, samples per second.

    Returns:
        Function from example to example with "audio", float32 (samples,), "rate" and
        "problem": a string, empty where the file has this rate and a sample.
    """

    def apply(example):
        example = dict(example)
        channels, own_rate = tf.audio.decode_wav(example.pop("encoded"))
        is_at_rate = tf.equal(own_rate, rate)
        problem = tf.where(
            is_at_rate, "", tf.strings.format("{} samples a second", own_rate)
        )
        has_samples = tf.shape(channels)[0] > 0
        problem = tf.where(has_samples, problem, "a sound without samples")
        return {
            **example,
            "audio": tf.reduce_mean(channels, axis=-1),
            "rate": tf.constant(rate, tf.int32),
            "problem": problem,
        }

    return apply


def cut(num_samples):
    """Makes the step that cuts out what begins at `example["start"]`, in seconds.

    Args:
        num_samples: int.

    Returns:
        Function from example to example with "audio" (num_samples,), or (K,
        num_samples) where there are K starts; after the end of a sound there is
        silence.
    """

    def apply(example):
        rate = tf.cast(example["rate"], tf.float64)
        start = tf.cast(
            tf.round(tf.cast(example["start"], tf.float64) * rate), tf.int32
        )
        audio = example["audio"]
        places = start[..., None] + tf.range(num_samples)
        last = tf.size(audio) - 1
        heard = tf.gather(audio, tf.minimum(places, last))
        return {**example, "audio": tf.where(places <= last, heard, 0.0)}

    return apply


def middle_fit(num_samples, num_clips=None):
    """Makes the step that gives a sound its length around its middle.

    Args:
        num_samples: int.
        num_clips: int, K, how many clips to take in place of the one in the middle,
            from the first possible to the last, at equal distances; they overlap as
            they must.

    Returns:
        Function from example to example with "audio" (num_samples,), or (K,
        num_samples) where a number of clips is given: parts of a longer sound; a
        shorter one amid silence, in as many places.
    """
    places = [0.5] if num_clips in (None, 1) else np.linspace(0, 1, num_clips)
    fits = [_fit(num_samples, lambda example, p=float(p): p) for p in places]

    def apply(example):
        clips = [fit(example)["audio"] for fit in fits]
        return {**example, "audio": clips[0] if num_clips is None else tf.stack(clips)}

    return apply


def random_fit(num_samples):
    """Makes the step that gives a sound its length at random.

    Args:
        num_samples: int.

    Returns:
        Function from example to example: any part of a longer sound; a shorter one
        anywhere amid silence.
    """

    def place(example):
        return tf.random.stateless_uniform((), op_seed(example, "random_fit"))

    return _fit(num_samples, place)


def random_shift(max_samples):
    """Makes the step that moves a sound in time; what enters is silence.

    Args:
        max_samples: int, the farthest move in each direction.

    Returns:
        Function from example to example.
    """

    def apply(example):
        audio = example["audio"]
        start = tf.random.stateless_uniform(
            (), op_seed(example, "random_shift"), 0, 2 * max_samples + 1, tf.int32
        )
        padded = tf.pad(audio, [[max_samples, max_samples]])
        moved = padded[start : start + tf.shape(audio)[0]]
        return {**example, "audio": tf.ensure_shape(moved, audio.shape)}

    return apply


def random_speed(spread):
    """Makes the step that plays a sound faster or slower, pitch and all.

    Args:
        spread: float in [0, 1); speeds are within 1 - spread and 1 + spread.

    Returns:
        Function from example to example, of another length.
    """

    def apply(example):
        audio = example["audio"]
        speed = tf.random.stateless_uniform(
            (), op_seed(example, "random_speed"), 1 - spread, 1 + spread
        )
        length = tf.cast(tf.size(audio), tf.float32) / speed
        length = tf.maximum(tf.cast(length, tf.int32), 1)
        # As an image of one row; antialiased, as high tones of fast speech need.
        played = tf.image.resize(
            audio[None, :, None], (1, length), method="bicubic", antialias=True
        )
        return {**example, "audio": played[0, :, 0]}

    return apply


def normalize_peak():
    """Makes the step that brings the loudest sample to 1; silence stays silence.

    Of several clips each for itself.

    Returns:
        Function from example to example.
    """

    def apply(example):
        peak = tf.reduce_max(tf.abs(example["audio"]), axis=-1, keepdims=True)
        return {**example, "audio": tf.math.divide_no_nan(example["audio"], peak)}

    return apply


def compand(mu):
    """Makes the step that lifts what is quiet, by the mu-law of telephony.

    `sign(x) ln(1 + mu |x|) / ln(1 + mu)`, as in ITU-T G.711, without its 8 bits:
    consonants, which are quiet, and vowels come closer to each other.

    Args:
        mu: int, at least 1; 255 in G.711.

    Returns:
        Function from example to example. The wave may exceed [-1, 1], as noise does.
    """

    def apply(example):
        audio = example["audio"]
        companded = tf.math.log1p(mu * tf.abs(audio)) / math.log1p(mu)
        return {**example, "audio": tf.sign(audio) * companded}

    return apply


def normalize_power():
    """Makes the step that brings the root mean square to 1; silence stays silence.

    Of several clips each for itself.

    Returns:
        Function from example to example.
    """

    def apply(example):
        audio = example["audio"]
        power = tf.reduce_mean(tf.square(audio), axis=-1, keepdims=True)
        return {**example, "audio": tf.math.divide_no_nan(audio, tf.sqrt(power))}

    return apply


def random_gain(decibels):
    """Makes the step that makes a sound quieter.

    Args:
        decibels: float, by how much at most.

    Returns:
        Function from example to example.
    """

    def apply(example):
        gain = tf.random.stateless_uniform(
            (), op_seed(example, "random_gain"), -decibels, 0.0
        )
        return {**example, "audio": example["audio"] * 10 ** (gain / 20)}

    return apply


def add_noise(low, high):
    """Makes the step that adds white noise.

    Args:
        low, high: floats, decibels; how much louder than the noise the sound is.

    Returns:
        Function from example to example.
    """

    def apply(example):
        audio = example["audio"]
        seed = op_seed(example, "add_noise.level")
        decibels = tf.random.stateless_uniform((), seed, low, high)
        noise = tf.random.stateless_normal(
            tf.shape(audio), op_seed(example, "add_noise")
        )
        power = tf.sqrt(tf.reduce_mean(audio**2)) * 10 ** (-decibels / 20)
        return {**example, "audio": tf.ensure_shape(audio + power * noise, audio.shape)}

    return apply


def log_mel(rate, *, num_bins, frame_length, frame_step):
    """Makes the step from a wave to its log-mel spectrogram.

    Hann windows; the magnitudes of a Fourier transform of the next power of two;
    triangles on the mel scale from 60 Hz to half the rate; log(x + 0.001). The last
    frames are filled up with silence.

    Args:
        rate: int, samples per second.
        num_bins: int, triangles.
        frame_length: int, samples of a window.
        frame_step: int, samples from one window to the next.

    Returns:
        Function from example to example with "audio" (frames, num_bins), frames =
        ceil(samples / frame_step).
    """
    fft_length = 2 ** math.ceil(math.log2(frame_length))
    triangles = tf.signal.linear_to_mel_weight_matrix(
        num_bins, fft_length // 2 + 1, rate, LOWEST_MEL_FREQUENCY, rate / 2
    )

    def apply(example):
        spectrum = tf.signal.stft(
            example["audio"], frame_length, frame_step, fft_length, pad_end=True
        )
        return {
            **example,
            "audio": tf.math.log(tf.abs(spectrum) @ triangles + MEL_FLOOR),
        }

    return apply


def standardize(mean, std):
    """Makes the step that subtracts a mean and divides by a standard deviation.

    Args:
        mean, std: floats, those of all data.

    Returns:
        Function from example to example.
    """

    def apply(example):
        return {**example, "audio": (example["audio"] - mean) / std}

    return apply


def spec_augment(time_part, frequency_part, num_masks=2):
    """Makes the step that hides stripes of a standardized spectrogram.

    Args:
        time_part, frequency_part: floats in [0, 1), the largest part of the frames and
            of the bins that one stripe hides.
        num_masks: int, stripes in each direction.

    Returns:
        Function from example to example; what is hidden is 0, the mean of all data.

    References:
        Park et al., 2019, "SpecAugment", without its warping of time.
    """

    def apply(example):
        mel = example["audio"]
        keep = tf.ones(tf.shape(mel), tf.bool)
        for axis, part in ((0, time_part), (1, frequency_part)):
            size = tf.shape(mel)[axis]
            draws = tf.random.stateless_uniform(
                (num_masks, 2, 1), op_seed(example, f"spec_augment.{axis}")
            )
            widths = draws[:, 0] * part * tf.cast(size, tf.float32)
            starts = draws[:, 1] * (tf.cast(size, tf.float32) - widths)
            place = tf.range(size, dtype=tf.float32) + 0.5
            hidden = tf.logical_and(place >= starts, place < starts + widths)
            hidden = tf.reduce_any(hidden, axis=0)
            keep &= ~tf.expand_dims(hidden, 1 - axis)
        return {**example, "audio": tf.where(keep, mel, tf.zeros_like(mel))}

    return apply


def _fit(num_samples, place):
    """A step that cuts or fills up; `place` gives where, from 0, early, to 1, late."""

    def apply(example):
        audio = example["audio"]
        room = num_samples - tf.size(audio)
        share = tf.cast(tf.abs(room) + 1, tf.float32) * place(example)
        before = tf.minimum(tf.cast(share, tf.int32), tf.abs(room))
        start = tf.where(room < 0, before, 0)
        audio = audio[start : start + num_samples]
        before = tf.where(room > 0, before, 0)
        audio = tf.pad(audio, [[before, tf.maximum(room, 0) - before]])
        return {**example, "audio": tf.ensure_shape(audio, (num_samples,))}

    return apply


def _resampled(audio, rate, new_rate):
    """Sound in memory, which mostly has the rate that is wanted."""

    def resample():
        return python_ops.call(
            audio_files.resample, [audio, rate], tf.float32, new_rate=new_rate
        )

    same = tf.equal(tf.cast(rate, tf.int32), new_rate)
    resampled = tf.cond(same, lambda: audio, resample)
    return tf.ensure_shape(resampled, (None,))
