import numpy as np
from keras import ops

from helpers import config_round_trip
from keras_perceiver.dropout import WeightDropout


def dropped(layer, shape):
    return ops.convert_to_numpy(layer(np.ones(shape, "float32"), training=True)) == 0


def test_rate_and_independence():
    layer = WeightDropout(0.3, seed=1)
    shape = (2, 3, 50, 1000)
    first, second = dropped(layer, shape), dropped(layer, shape)
    for mask in (first, second):
        assert abs(mask.mean() - 0.3) < 0.003
    # Two steps, and any two rows of one step, agree as often as chance has it.
    chance = 0.3**2 + 0.7**2
    assert abs((first == second).mean() - chance) < 0.003
    for axis in range(4):
        ahead = np.roll(first, 1, axis=axis)
        assert abs((first == ahead).mean() - chance) < 0.005, axis
    # No input and no row is dropped more often than chance has it.
    assert abs(first.mean(axis=(0, 1, 2)).std() - (0.21 / 300) ** 0.5) < 0.003
    assert abs(first.mean(axis=3).std() - (0.21 / 1000) ** 0.5) < 0.003


def test_mean_is_kept_and_inference_drops_nothing():
    layer = WeightDropout(0.5, seed=1)
    weights = np.ones((2, 3, 50, 100), "float32")
    assert abs(float(ops.mean(layer(weights, training=True))) - 1) < 0.02
    np.testing.assert_array_equal(layer(weights, training=False), weights)
    np.testing.assert_array_equal(WeightDropout(0.0)(weights, training=True), weights)


def test_parts_agree_with_the_whole():
    layer = WeightDropout(0.5, seed=1)
    keep = layer.keep(7, 3, 11, "float32", training=True)
    whole = ops.convert_to_numpy(keep(0, 0, 4, 7))
    assert whole.shape == (4, 7, 3, 11)
    np.testing.assert_array_equal(keep(2, 3, 1, 2), whole[2:3, 3:5])


def test_what_is_dropped_is_the_same_on_every_backend():
    layer = WeightDropout(0.5)
    layer.seed_generator.state.assign([3, 5])
    kept = ~dropped(layer, (2, 3, 2, 4))
    rows = ["".join(str(int(one)) for one in row) for row in kept.reshape(-1, 4)]
    assert " ".join(rows) == (
        "1110 0001 0001 0000 0100 1101 0111 0000 1010 0001 0000 0011"
    )


def test_a_seed_repeats():
    shape = (2, 3, 5, 7)
    one, other = WeightDropout(0.5, seed=3), WeightDropout(0.5, seed=3)
    np.testing.assert_array_equal(dropped(one, shape), dropped(other, shape))
    assert (dropped(one, shape) != dropped(WeightDropout(0.5, seed=4), shape)).any()
    config_round_trip(one)
