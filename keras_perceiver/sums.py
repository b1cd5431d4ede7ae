"""Sums over rows and over the batch that XLA on CPUs would make slow loops of.

It draws the elementwise operations before and after a sum over rows into one loop,
which computes one column after the other: ten times as long as a product with ones. A
product with a single row of ones it takes for such a sum, one with two rows not. On
GPUs and TPUs these products have the precision of all others.
"""

import math

from keras import ops

from keras_perceiver.gradients import with_gradient


def column_sums(x):
    """`(..., R, M) -> (..., M)`, as a product with ones."""
    ones = ops.ones((2, ops.shape(x)[-2]), dtype=x.dtype)
    return ops.matmul(ones, x)[..., 0, :]


def for_each_example(x, batch):
    """What all examples share, once for each of them: `(1, M, P) -> (B, M, P)`.

    The gradient sums over the batch by `column_sums`. It is for what is large and
    learned. Having a gradient of its own, it has no forward-mode derivative on JAX.

    Args:
        x: float tensor `(1, M, P)`.
        batch: int or scalar int tensor, B.
    """
    if isinstance(batch, int) and batch == 1:
        return x
    sizes = ops.shape(x)[1:]

    def repeated(x):
        def gradient(upstream):
            rows = ops.reshape(upstream, (-1, math.prod(sizes)))
            return ops.reshape(column_sums(rows), (1, *sizes))

        return ops.broadcast_to(x, (batch, *sizes)), gradient

    return with_gradient(repeated)(x)
