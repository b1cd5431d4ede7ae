import numpy as np
import pytest
from keras import ops

import keras_perceiver as kp
from helpers import B, D, M, N, array, check_layer, config_round_trip
from keras_perceiver.encoder import schedule, sharing_ids


def test_latent_array():
    layer = kp.layers.LatentArray(N, D)
    latents = ops.convert_to_numpy(layer(array(B, M)))
    assert latents.shape == (B, N, D)
    np.testing.assert_array_equal(latents[0], latents[1])
    # A normal distribution of deviation 0.02, cut at 0.04.
    assert np.abs(latents).max() <= 0.04
    assert 0.013 < latents.std() < 0.021
    assert len(np.unique(latents[0])) == N * D
    config_round_trip(layer)


def test_latent_block_layer():
    check_layer(
        lambda **kwargs: kp.layers.LatentBlock(
            num_layers=2, num_heads=3, widening_factor=2, **kwargs
        ),
        {"inputs": array(B, N, D)},
        output_shape=(B, N, D),
        num_weights=2 * 16,
        num_seeds=6,
    )


def test_latent_block_is_its_layers_in_turn():
    block = kp.layers.LatentBlock(num_layers=3, num_heads=3)
    x = array(B, N, D)
    result = block(x)
    for layer in block.layers:
        x = layer(x)
    np.testing.assert_array_equal(result, x)


@pytest.mark.parametrize(
    "sharing, count, ids",
    [
        ("all", 3, [0, 0, 0]),
        ("all_but_first", 4, [0, 1, 1, 1]),
        ("all_but_first", 1, [0]),
        ("none", 3, [0, 1, 2]),
        ([0, 1, 0, 2], 4, [0, 1, 0, 2]),
    ],
)
def test_sharing(sharing, count, ids):
    assert sharing_ids(sharing, count, "sharing") == ids


@pytest.mark.parametrize("sharing", [[0, 1], [0, 2, 1], [1, 1, 1], [0, "a", 1], "some"])
def test_bad_sharing(sharing):
    with pytest.raises(ValueError, match="`sharing` must .* Received: sharing="):
        sharing_ids(sharing, 3, "sharing")


def test_schedules_of_the_paper():
    c, b = "cross_attend", "latent_block"
    assert schedule(2, 4) == [(c, 0), (b, 0), (b, 1), (c, 1), (b, 2), (b, 3)]
    assert schedule(3, 3) == [(c, 0), (b, 0), (c, 1), (b, 1), (c, 2), (b, 2)]
    assert schedule(2, 3, "start") == [(c, 0), (c, 1), (b, 0), (b, 1), (b, 2)]
    assert schedule(1, 2) == [(c, 0), (b, 0), (b, 1)]
    kinds = [kind for kind, _ in schedule(8, 8)]
    assert kinds == [c, b] * 8


def test_bad_schedules():
    with pytest.raises(ValueError, match="must not exceed `num_latent_blocks`"):
        schedule(3, 2)
    with pytest.raises(ValueError, match="`placement` must be one of"):
        schedule(2, 2, "end")


def test_average_decoder():
    check_layer(
        lambda **kwargs: kp.layers.AverageDecoder(use_norm=True, **kwargs),
        {"latents": array(B, N, D)},
        output_shape=(B, D),
        num_weights=2,
    )
    x = array(B, N, D)
    np.testing.assert_allclose(kp.layers.AverageDecoder()(x), x.mean(axis=1), atol=1e-6)


def test_query_decoder():
    check_layer(
        lambda **kwargs: kp.layers.QueryDecoder(
            num_queries=3, query_dim=10, num_heads=2, use_query_residual=False, **kwargs
        ),
        {"latents": array(B, N, D)},
        output_shape=(B, 3, 10),
        num_weights=19,
        num_seeds=3,
    )


def test_query_decoder_answers_each_query_alone():
    decoder = kp.layers.QueryDecoder(num_queries=3)
    latents = array(B, N, D)
    result = ops.convert_to_numpy(decoder(latents))
    mask = np.array([[True, False, True]] * B)
    masked = ops.convert_to_numpy(decoder(latents, queries_mask=mask))
    np.testing.assert_allclose(masked[:, [0, 2]], result[:, [0, 2]], atol=1e-6)
    assert np.abs(masked[:, 1] - result[:, 1]).max() > 1e-4
