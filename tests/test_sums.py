"""Sums as products are sums, and so is the gradient of what all examples share."""

import numpy as np
import pytest
from keras import layers, ops

from helpers import gradients
from keras_perceiver.sums import column_sums, for_each_example

M, P = 5, 3


@pytest.mark.parametrize("shape", [(7, 5), (1, 5), (2, 7, 5), (1, 7, 5), (2, 3, 7, 5)])
def test_column_sums(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    np.testing.assert_allclose(column_sums(x), x.sum(-2), rtol=1e-5, atol=1e-6)


@pytest.mark.trains
@pytest.mark.parametrize("compiled", [None, False, True], ids=["eager", "graph", "xla"])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_gradient_sums_over_the_examples(batch, compiled):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, M, P)).astype("float32")
    upstream = rng.normal(size=(batch, M, P)).astype("float32")

    def loss(x):
        repeated = for_each_example(x, batch)
        return ops.sum(repeated * ops.convert_to_tensor(upstream)), repeated

    repeated, (gradient,), _ = gradients(loss, [x], layers.Identity(), compiled)
    np.testing.assert_array_equal(repeated, np.repeat(x, batch, axis=0))
    expected = upstream.sum(0, keepdims=True)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.tf_only
def test_a_batch_known_only_at_run_time():
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, M, P))])
    def gradient(upstream):
        x = tf.ones((1, M, P))
        with tf.GradientTape() as tape:
            tape.watch(x)
            repeated = for_each_example(x, tf.shape(upstream)[0])
            loss = tf.reduce_sum(repeated * upstream)
        return tape.gradient(loss, x)

    for batch in (0, 1, 4):
        upstream = np.random.default_rng(0).normal(size=(batch, M, P)).astype("float32")
        expected = upstream.sum(0, keepdims=True)
        np.testing.assert_allclose(gradient(upstream), expected, rtol=1e-5, atol=1e-6)
