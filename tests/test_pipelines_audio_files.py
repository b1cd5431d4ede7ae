"""Sound files: the right samples whatever the format, and sentences for broken ones."""

import io
import wave

import numpy as np
import pytest
import tensorflow as tf

from pipelines import audio_files
from sound_files import encode_sound, tone

FORMATS = [
    # Container, codec, rate, channels, how far off the samples may be.
    ("wav", "pcm_s16le", 16000, 1, 1e-3),
    ("wav", "pcm_f32le", 11025, 2, 1e-3),
    ("wav", "pcm_u8", 8000, 1, 0.02),
    ("flac", "flac", 44100, 2, 1e-3),
    ("mp3", "libmp3lame", 16000, 2, 0.05),
    ("ogg", "libopus", 48000, 1, 0.1),
    ("mp4", "aac", 16000, 1, 0.1),
]


def read(data, rate=8000):
    return audio_files.read(tf.constant(data), rate, is_path=False).numpy()


def similarity(samples, expected):
    """The highest correlation of two waves over small delays."""
    return max(
        np.corrcoef(samples[d : d + 6000], expected[:6000])[0, 1] for d in range(120)
    )


@pytest.mark.parametrize("file_format, codec, rate, channels, error", FORMATS)
def test_formats(file_format, codec, rate, channels, error):
    data = encode_sound(tone(rate), rate, file_format, codec, channels)
    samples = read(data)
    assert samples.dtype == np.float32
    # Encoders add up to two frames of silence.
    assert 7900 <= len(samples) <= 8000 + 2 * 1152
    assert similarity(samples, tone(8000)) > 1 - error
    # The mean of equal channels is as loud as each.
    middle = samples[3000:5000]
    np.testing.assert_allclose(middle.std() * 2**0.5, 0.5, rtol=max(error, 0.01))
    own_rate, seconds = audio_files.probe(tf.constant(data), is_path=False)
    assert own_rate == rate and abs(float(seconds) - 1) < 0.15


def test_lossless_files_keep_their_samples(tmp_path):
    path = tmp_path / "any.suffix"
    for codec, file_format in (("flac", "flac"), ("pcm_s16le", "wav")):
        path.write_bytes(encode_sound(tone(8000), 8000, file_format, codec))
        samples = audio_files.read(tf.constant(str(path)), 8000, is_path=True)
        np.testing.assert_allclose(samples, tone(8000), atol=2**-15)


def test_inside_tf_data_it_is_the_same(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encode_sound(tone(22050), 22050, "wav", "pcm_s16le"))
    dataset = tf.data.Dataset.from_tensors(str(path)).map(
        lambda path: audio_files.read(path, 8000, is_path=True)
    )
    assert dataset.element_spec == tf.TensorSpec((None,), tf.float32)
    (mapped,) = dataset
    np.testing.assert_array_equal(mapped, read(path.read_bytes()))


def test_resampling_keeps_what_the_rate_can_hold():
    low, high = tone(22050, frequency=440), tone(22050, frequency=6000)
    resampled = audio_files.resample(low, 22050, 8000)
    assert resampled.shape == (8000,)
    np.testing.assert_allclose(resampled[50:-50], tone(8000)[50:-50], atol=1e-3)
    # Above half the rate; without a filter it would come back as a tone of 2 kHz.
    assert np.abs(audio_files.resample(high, 22050, 8000)[50:-50]).max() < 0.01


def empty_wav():
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
    return buffer.getvalue()


def half(file_format, codec):
    data = encode_sound(tone(16000, 2.0), 16000, file_format, codec)
    return data[: len(data) // 2]


SILENT_VIDEO = np.zeros((5, 16, 16, 3), np.uint8)
BROKEN = {
    "nothing": (lambda: b"", "the file is empty"),
    "text": (lambda: b"no sound, but words " * 20, "Invalid data"),
    "no samples": (empty_wav, "the sound has no samples"),
    "half a WAV": (lambda: half("wav", "pcm_s16le"), r"it ends after 32\d* of 64\d* b"),
    "half a FLAC": (lambda: half("flac", "flac"), "Invalid data|it ends after"),
    "half an MP3": (lambda: half("mp3", "libmp3lame"), r"it ends after .* of 2.00 sec"),
    "half an MP4": (lambda: half("mp4", "aac"), "Invalid data"),
    "no sound": (
        lambda: encode_sound(tone(8000, 0), 8000, "matroska", None, video=SILENT_VIDEO),
        "the file has no sound",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_told_in_a_sentence(name):
    make, message = BROKEN[name]
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=message):
        read(make())


@pytest.mark.parametrize("name", ["missing.wav", "."])
def test_paths_that_are_no_files(tmp_path, name):
    with pytest.raises(ValueError, match="No such file|Is a directory"):
        audio_files.read(tf.constant(str(tmp_path / name)), 8000, is_path=True)


def test_a_size_that_is_not_known_is_no_error():
    data = encode_sound(tone(8000), 8000, "wav", "pcm_s16le")
    unknown = data[:4] + b"\xff" * 4 + data[8:]
    np.testing.assert_array_equal(read(unknown), read(data))
