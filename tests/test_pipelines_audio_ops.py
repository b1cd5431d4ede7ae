"""Steps on sounds: the same eagerly and in tf.data, and right about samples."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines import audio_ops
from sound_files import encode_sound, tone

TONE = tone(8000)
RANDOM_OPS = {
    "fit": audio_ops.random_fit(9000),
    "shift": audio_ops.random_shift(300),
    "speed": audio_ops.random_speed(0.2),
    "gain": audio_ops.random_gain(12.0),
    "noise": audio_ops.add_noise(0.0, 20.0),
}


def run(op, **example):
    """Runs an op both eagerly and in tf.data; checks that the two agree."""
    example.setdefault("seed", [3, 5])
    eager = op({key: tf.constant(value) for key, value in example.items()})
    (mapped,) = tf.data.Dataset.from_tensors(example).map(op)
    assert eager.keys() == mapped.keys()
    for key, value in eager.items():
        if value.dtype == tf.float32:  # Graphs may fuse operations.
            np.testing.assert_allclose(value, mapped[key], rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(value, mapped[key])
    return eager["audio"].numpy()


def all_results(op, sound):
    """What an op makes of a sound with many seeds, as a set of tuples."""
    seeds = tf.data.Dataset.range(60).map(lambda n: tf.stack([n, 1]))
    audio = tf.constant(sound)
    results = seeds.map(lambda seed: op({"audio": audio, "seed": seed})["audio"])
    return {tuple(result) for result in results.as_numpy_iterator()}


@pytest.mark.parametrize("form", ["audio", "encoded", "path"])
def test_decode(form, tmp_path):
    data = encode_sound(TONE, 8000, "wav", "pcm_s16le")
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    own = {"audio": {"audio": TONE, "rate": 8000}, "encoded": {"encoded": data}}
    own = own.get(form, {"path": str(path)})
    np.testing.assert_allclose(
        run(audio_ops.decode_audio(8000), **own), TONE, atol=1e-4
    )
    slower = run(audio_ops.decode_audio(4000), **own)
    np.testing.assert_allclose(slower[50:-50], tone(4000)[50:-50], atol=2e-3)


def test_middle_fit():
    sound = np.arange(1, 8, dtype=np.float32)
    assert run(audio_ops.middle_fit(3), audio=sound).tolist() == [3, 4, 5]
    assert run(audio_ops.middle_fit(7), audio=sound).tolist() == sound.tolist()
    padded = run(audio_ops.middle_fit(11), audio=sound)
    assert padded.tolist() == [0, 0, *sound, 0, 0]


def test_several_clips_lie_all_over_a_sound():
    sound = np.arange(1, 8, dtype=np.float32)
    clips = run(audio_ops.middle_fit(3, 5), audio=sound)
    assert clips.tolist() == [[n, n + 1, n + 2] for n in range(1, 6)]
    padded = run(audio_ops.middle_fit(9, 3), audio=sound)
    assert padded.tolist() == [[*sound, 0, 0], [0, *sound, 0], [0, 0, *sound]]
    assert run(audio_ops.middle_fit(3, 1), audio=sound).tolist() == [[3, 4, 5]]


def test_each_clip_has_a_peak_of_its_own():
    clips = np.array([[0.1, -0.2], [0.5, 0.25], [0, 0]], np.float32)
    peaked = run(audio_ops.normalize_peak(), audio=clips)
    np.testing.assert_allclose(peaked, [[0.5, -1], [1, 0.5], [0, 0]])


def test_random_fit_reaches_every_place():
    sound = np.arange(1, 5, dtype=np.float32)
    for length, places in ((2, 3), (4, 1), (7, 4)):
        op = audio_ops.random_fit(length)
        found = all_results(op, sound)
        padded = np.pad(sound, max(0, length - 4))
        windows = np.lib.stride_tricks.sliding_window_view(padded, length)
        expected = {tuple(w) for w in windows if (w > 0).sum() == min(4, length)}
        assert found == expected and len(found) == places


def test_shift_fills_with_silence():
    sound = np.arange(1, 6, dtype=np.float32)
    padded = np.pad(sound, 2)
    expected = {tuple(padded[start : start + 5]) for start in range(5)}
    op = audio_ops.random_shift(2)
    found = all_results(op, sound)
    assert found == expected


def test_speed_changes_length_and_pitch():
    lengths = []
    for number in range(20):
        played = run(audio_ops.random_speed(0.2), audio=TONE, seed=[number, 1])
        lengths.append(len(played))
        frequency = np.abs(np.fft.rfft(played)).argmax() * 8000 / len(played)
        np.testing.assert_allclose(frequency, 440 * 8000 / len(played), rtol=0.01)
    assert 6600 < min(lengths) < 7400 and 8800 < max(lengths) <= 10000


def test_the_mu_law_and_the_power():
    wave = np.array([-1, -0.5, -0.01, 0, 0.01, 0.5, 1], np.float32)
    companded = run(audio_ops.compand(255), audio=wave)
    # From the table of G.711: half of the amplitude has seven eighths of the code.
    np.testing.assert_allclose(companded[[0, 3, 6]], [-1, 0, 1])
    assert companded[5] == pytest.approx(0.876, abs=1e-3)
    np.testing.assert_allclose(companded, -companded[::-1])
    # The inverse, as it is published.
    expanded = np.sign(companded) * (256 ** np.abs(companded) - 1) / 255
    np.testing.assert_allclose(expanded, wave, atol=1e-6)

    clips = np.stack([wave, np.zeros_like(wave)])
    powerful = run(audio_ops.normalize_power(), audio=clips)
    np.testing.assert_allclose((powerful**2).mean(axis=-1), [1, 0], rtol=1e-6)
    np.testing.assert_allclose(powerful[0] / powerful[0, 6], wave, rtol=1e-6)


def test_peak_gain_and_noise():
    loud = run(audio_ops.normalize_peak(), audio=TONE * 0.1)
    np.testing.assert_allclose(np.abs(loud).max(), 1, rtol=1e-6)
    silence = np.zeros(9, np.float32)
    assert not run(audio_ops.normalize_peak(), audio=silence).any()
    quiet = run(audio_ops.random_gain(12.0), audio=TONE)
    gain = 20 * np.log10(quiet[5] / TONE[5])
    assert -12 <= gain < 0
    np.testing.assert_allclose(quiet, TONE * 10 ** (gain / 20), rtol=1e-4, atol=1e-6)
    noisy = run(audio_ops.add_noise(6.0, 6.0), audio=TONE)
    ratio = 20 * np.log10(TONE.std() / (noisy - TONE).std())
    assert abs(ratio - 6) < 0.3


@pytest.mark.parametrize("name", RANDOM_OPS)
def test_only_the_seed_counts(name):
    def sounds(global_seed):
        tf.random.set_seed(global_seed)
        op = RANDOM_OPS[name]
        return [
            op({"audio": tf.constant(TONE), "seed": tf.constant([n, 1])})["audio"]
            for n in range(4)
        ]

    first, second = sounds(0), sounds(1)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({sound.numpy().tobytes() for sound in first}) > 1


def test_log_mel_finds_the_tone():
    op = audio_ops.log_mel(8000, num_bins=40, frame_length=200, frame_step=80)
    bins = []
    for frequency in (300.0, 1000.0, 3000.0):
        mel = run(op, audio=tone(8000, frequency=frequency))
        assert mel.shape == (100, 40)
        (loudest,) = set(mel[5:90].argmax(axis=1))
        bins.append(loudest)

        def to_mel(hertz):
            return 1127 * np.log1p(hertz / 700)

        edges = np.linspace(to_mel(60), to_mel(4000), 42)
        assert abs(edges[loudest + 1] - to_mel(frequency)) < edges[1] - edges[0]
    assert bins == sorted(bins)
    silence = run(op, audio=np.zeros(8000, np.float32))
    np.testing.assert_allclose(silence, np.log(audio_ops.MEL_FLOOR), rtol=1e-5)


def test_standardize():
    assert run(audio_ops.standardize(2.0, 4.0), audio=[2.0, 10.0]).tolist() == [0, 2]


def test_spec_augment_hides_stripes_and_nothing_else():
    mel = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    op = audio_ops.spec_augment(0.2, 0.3)
    hidden = []
    for number in range(20):
        masked = run(op, audio=mel, seed=[number, 1])
        gone = masked == 0
        np.testing.assert_array_equal(masked[~gone], mel[~gone])
        frames, bins = gone.all(axis=1), gone.all(axis=0)
        np.testing.assert_array_equal(gone, frames[:, None] | bins)
        assert frames.sum() <= 20 and bins.sum() <= 24
        hidden.append((frames.sum(), bins.sum()))
    assert np.mean(hidden, axis=0).min() > 3


def test_cut_begins_at_the_start():
    sound = np.arange(1, 8, dtype=np.float32)
    op = audio_ops.cut(3)
    assert run(op, audio=sound, rate=2, start=1.0).tolist() == [3, 4, 5]
    assert run(op, audio=sound, rate=2, start=3.0).tolist() == [7, 0, 0]
    assert run(op, audio=sound, rate=2, start=9.0).tolist() == [0, 0, 0]
    clips = run(op, audio=sound, rate=2, start=np.array([0.0, 2.5], np.float32))
    assert clips.tolist() == [[1, 2, 3], [6, 7, 0]]
