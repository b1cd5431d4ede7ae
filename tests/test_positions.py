import keras
import numpy as np
import pytest
from keras import ops

import keras_perceiver as kp
from helpers import config_round_trip, gradients


def formula(points, num_bands, resolutions):
    """The published features in float64, `(..., d)` -> `(..., d (2 K + 1))`."""
    angles = np.concatenate(
        [
            np.pi * points[..., j, None] * np.linspace(1, resolution / 2, num_bands)
            for j, resolution in enumerate(resolutions)
        ],
        axis=-1,
    )
    return np.concatenate([points, np.sin(angles), np.cos(angles)], axis=-1)


def grid_points(shape):
    axes = [np.linspace(-1, 1, n) for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


@pytest.mark.parametrize(
    "shape, num_bands, resolutions",
    [
        ((17,), 4, (17,)),
        ((5, 7), 3, (5, 7)),
        ((224, 224), 64, (224, 224)),
        ((13, 11), 6, (224, 100)),
        ((2, 3, 5), 5, (8, 12, 40)),
        ((1, 7), 3, (4, 4)),
        ((30720,), 12, (30720,)),
        ((3, 2, 5, 7), 2, (3, 2, 5, 7)),
        ((11,), 1, (11,)),
    ],
)
def test_grid_features_are_exact(shape, num_bands, resolutions):
    features = kp.FourierPositions(num_bands, resolutions).grid(shape)
    exact = formula(grid_points(shape), num_bands, resolutions)
    assert features.shape == exact.shape
    np.testing.assert_allclose(features, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rank, resolution", [(1, 20), (2, 224), (3, 2240)])
def test_point_features_are_exact(rng, rank, resolution):
    points = rng.uniform(-1, 1, (2, 101, rank)).astype("float32")
    positions = kp.FourierPositions(16, resolution)
    features = positions(points)
    assert features.shape == (2, 101, positions.channels((None,) * rank))
    exact = formula(points.astype("float64"), 16, (resolution,) * rank)
    np.testing.assert_allclose(features, exact, rtol=0, atol=1e-6)


def test_end_points_and_frequencies():
    features = ops.convert_to_numpy(kp.FourierPositions(3, 8).grid((5,)))
    np.testing.assert_allclose(features[:, 0], [-1, -0.5, 0, 0.5, 1])
    # Frequencies 1, 2.5 and 4.
    np.testing.assert_allclose(features[1, 1:4], np.sin([-np.pi / 2, -1.25 * np.pi, 0]))
    single = ops.convert_to_numpy(kp.FourierPositions(2, 8).grid((1,)))
    assert single[0, 0] == -1


def test_sine_only_and_without_positions():
    full = ops.convert_to_numpy(kp.FourierPositions(3, 8).grid((5, 7)))
    sines = kp.FourierPositions(3, 8, include_positions=False, sine_only=True)
    np.testing.assert_array_equal(sines.grid((5, 7)), full[..., 2:8])
    waves = kp.FourierPositions(3, 8, include_positions=False)
    np.testing.assert_array_equal(waves.grid((5, 7)), full[..., 2:])
    assert sines.channels((5, 7)) == 6
    assert waves.channels((5, 7)) == 12


@pytest.mark.tf_only
def test_sizes_known_only_at_run_time():
    import tensorflow as tf

    for resolution in (None, (30, 40)):
        positions = kp.FourierPositions(4, resolution)

        @tf.function(input_signature=[tf.TensorSpec((None, None))])
        def features(image, positions=positions):
            return positions.grid(tuple(ops.shape(image)))

        np.testing.assert_allclose(
            features(tf.zeros((5, 7))), positions.grid((5, 7)), rtol=0, atol=1e-6
        )


@pytest.mark.trains
def test_gradient_of_points_is_that_of_the_formula():
    points = np.array([[0.3], [-0.71]], "float32")
    positions = kp.FourierPositions(2, 8)

    def loss(points):
        features = positions(points)
        return ops.sum(features[..., 1:3]), features

    _, (gradient,), _ = gradients(loss, [points], positions)
    expected = sum(np.pi * f * np.cos(np.pi * f * points) for f in (1.0, 4.0))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_positions_are_computed_in_float32_under_half_precision(policy):
    half = kp.FourierPositions(64, 224, dtype=policy)
    whole = ops.convert_to_numpy(kp.FourierPositions(64, 224).grid((224,)))
    features = half.grid((224,))
    assert keras.backend.standardize_dtype(features.dtype) == half.compute_dtype
    features = ops.convert_to_numpy(ops.cast(features, "float32"))
    assert np.abs(features - whole).max() <= 2.0**-8
    points = np.linspace(-1, 1, 224, dtype="float32")[:, None]
    by_points = ops.convert_to_numpy(ops.cast(half(points), "float32"))
    assert np.abs(by_points - whole).max() <= 2.0**-8


def test_learned_positions(rng):
    positions = kp.LearnedPositions((5, 7), 3)
    grid = ops.convert_to_numpy(positions.grid((5, 7)))
    assert grid.shape == (5, 7, 3)
    assert 0.01 < grid.std() < 0.02 and np.abs(grid).max() <= 0.04
    indices = rng.integers(0, 35, (2, 4))
    np.testing.assert_array_equal(positions(indices), grid.reshape(35, 3)[indices])


def test_configs():
    config_round_trip(kp.FourierPositions(3, np.int64(5)))
    config_round_trip(kp.FourierPositions(np.int64(3), np.array([5, 7])))
    config_round_trip(kp.FourierPositions(3, (5, 7), sine_only=True))
    config_round_trip(kp.LearnedPositions((5, 7), 3))


@pytest.mark.parametrize(
    "make, sentence",
    [
        (
            lambda: kp.FourierPositions(0),
            "`num_bands` must be .* num_bands=0",
        ),
        (
            lambda: kp.FourierPositions(3, (5, 0)),
            "`max_resolution` must be a positive number",
        ),
        (lambda: kp.FourierPositions(3, "28"), "max_resolution='28'"),
        (lambda: kp.FourierPositions(3, (5, 7)).grid((5,)), r"one entry for each axis"),
        (lambda: kp.FourierPositions(3)(np.zeros((2, 2), "float32")), "points"),
        (lambda: kp.LearnedPositions((5, 7), 3).grid((7, 5)), r"on a grid \(7, 5\)"),
        (lambda: kp.LearnedPositions(0, 3), "`shape` must be an integer of at least 1"),
    ],
)
def test_bad_arguments(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def multimodal(**kwargs):
    return kp.MultimodalPositions(
        {
            "image": kp.FourierPositions(2, (3, 5)),
            "words": kp.LearnedPositions(7, 4),
            "table": None,
        },
        **kwargs,
    )


SHAPES = {"image": (None, 3, 5, 3), "table": (None, 6, 9), "words": (None, 7, 2)}


def test_modalities_are_padded_to_a_common_width():
    positions = multimodal(min_padding=4)
    positions.build(SHAPES)
    # Content and positions: 3 + 10, 9, 2 + 4; the widest and 4.
    assert positions.num_channels == 17
    assert list(positions.positions) == ["image", "table", "words"]
    widths = {name: positions.padding(name).shape for name in SHAPES}
    assert widths == {"image": (1, 4), "table": (1, 8), "words": (1, 11)}
    positions = multimodal(min_padding=0)
    positions.build(SHAPES)
    assert positions.padding("image").shape == (1, 0)
    assert len(positions.trainable_variables) == 3  # Two paddings, and the words'.


def test_multimodal_config_round_trip():
    positions = multimodal(min_padding=4, initializer="ones")
    copy = config_round_trip(positions)
    copy.build(SHAPES)
    np.testing.assert_array_equal(copy.padding("table"), np.ones((1, 8)))


@pytest.mark.parametrize("given", [{}, {"a": 3}, kp.FourierPositions(2), {3: None}])
def test_multimodal_positions_must_be_a_dict(given):
    with pytest.raises(ValueError, match="of several modalities must be a dict from"):
        kp.MultimodalPositions(given)


def test_modalities_must_not_share_learned_positions():
    shared, fourier = kp.LearnedPositions(7, 4), kp.FourierPositions(2)
    with pytest.raises(ValueError, match="must have `kp.LearnedPositions` of its own"):
        kp.MultimodalPositions({"a": shared, "b": shared})
    kp.MultimodalPositions({"a": fourier, "b": fourier})  # They have no weights.
