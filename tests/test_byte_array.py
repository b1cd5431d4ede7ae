import keras
import numpy as np
import pytest
from keras import ops

import keras_perceiver as kp
from helpers import gradients
from keras_perceiver.byte_array import ByteArray, ConcatenatedByteArray

B, R = 2, 3


def parts(grid, channels, offset=0.0, seed=0):
    """A byte array, and the dense `(B, M, C)` that it stands for."""
    rng = np.random.default_rng(seed)
    content = (rng.normal(size=(B, *grid, channels)) + offset).astype("float32")
    positions = kp.FourierPositions(4, grid)
    dense = kp.layers.CrossAttention(positions=positions).dense(
        ops.convert_to_tensor(content)
    )
    flat = ops.reshape(content, (B, -1, channels))
    return ByteArray(flat, positions, grid), np.asarray(dense)


def dense_only():
    content = np.random.default_rng(0).normal(size=(B, 13, 5)).astype("float32")
    return ByteArray(ops.convert_to_tensor(content)), content


def two_modalities():
    image, image_dense = parts((3, 5), 3)
    audio, audio_dense = parts((7,), 2, seed=1)
    rng = np.random.default_rng(2)
    width = max(image.channels, audio.channels) + 2
    paddings, denses = [], []
    for part, dense in ((image, image_dense), (audio, audio_dense)):
        padding = rng.normal(size=(1, width - part.channels)).astype("float32")
        padding = np.repeat(padding, B, axis=0)
        paddings.append(ops.convert_to_tensor(padding))
        wide = np.broadcast_to(padding[:, None], (*dense.shape[:2], padding.shape[-1]))
        denses.append(np.concatenate([dense, wide], axis=-1))
    return (
        ConcatenatedByteArray([image, audio], paddings),
        np.concatenate(denses, axis=1),
    )


CASES = {
    "dense": dense_only,
    "sequence": lambda: parts((13,), 3),
    "image": lambda: parts((5, 7), 3),
    "one": lambda: parts((1, 1), 1),
    "video": lambda: parts((2, 3, 5), 1),
    "rank 4": lambda: parts((2, 3, 1, 5), 2, offset=100.0),
    "two modalities": two_modalities,
}


@pytest.mark.parametrize("case", CASES)
def test_products_are_those_of_the_dense_array(case):
    byte_array, dense = CASES[case]()
    rng = np.random.default_rng(3)
    _, num_inputs, channels = dense.shape
    assert byte_array.channels == channels and byte_array.num_inputs == num_inputs
    u = rng.normal(size=(B, R, channels)).astype("float32")
    w = rng.normal(size=(B, R, num_inputs)).astype("float32")
    for received, expected in (
        (byte_array.scores(u), u @ dense.swapaxes(1, 2)),
        (byte_array.mix(w), w @ dense),
        (byte_array.deviation(1e-5), np.sqrt(dense.astype("f8").var(-1) + 1e-5)),
    ):
        np.testing.assert_allclose(
            received, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
        )


@pytest.mark.trains
@pytest.mark.parametrize("case", CASES)
def test_spread_is_the_gradient_of_the_others(case):
    byte_array, dense = CASES[case]()
    rng = np.random.default_rng(3)
    u = rng.normal(size=(B, R, dense.shape[-1])).astype("float32")
    w = rng.normal(size=(B, R, dense.shape[1])).astype("float32")

    def loss(*tensors):
        scores = byte_array.with_tensors(tensors).scores(u)
        return ops.sum(scores * ops.convert_to_tensor(w)), scores

    nothing = keras.layers.Identity()
    _, expected, _ = gradients(loss, byte_array.tensors, nothing)
    for received, gradient in zip(byte_array.spread(w, u), expected, strict=True):
        np.testing.assert_allclose(received, gradient, rtol=1e-4, atol=1e-4)


def test_deviation_does_not_cancel():
    rng = np.random.default_rng(0)
    content = (rng.normal(size=(B, 13, 5)) + 1000).astype("float32")
    deviation = ByteArray(ops.convert_to_tensor(content)).deviation(1e-5)
    exact = np.sqrt(content.astype("float64").var(-1) + 1e-5)
    np.testing.assert_allclose(deviation, exact, rtol=1e-5)
