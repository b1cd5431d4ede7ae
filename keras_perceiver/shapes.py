"""Reshapes, copies and sums that take less time so than as compilers do them.

Of reshapes of tensors whose batch is known only at run time, one size is found by
itself: sizes that are read and put together again take longer in a small model than its
attention.
"""

import math

from keras import ops

from keras_perceiver.gradients import with_gradient


def sizes_of(x):
    """The shape of a tensor as a reshape takes it: -1 where the batch alone is unknown.

    Of other tensors, sizes that are unknown are scalar tensors.
    """
    batch, *others = tuple(x.shape)
    if batch is None and None not in others and 0 not in others:
        return (-1, *others)
    return ops.shape(x)


def by_rows(function, x):
    """What a function of the last axis makes of a tensor, as one matrix product.

    TensorFlow knows that it is one where it knows the shape. Elsewhere it computes how
    to arrange the axes, unless the rows are given to it as a matrix.

    Args:
        function: function of `(..., C)` to `(..., E)`, such as a dense layer.
        x: tensor `(..., C)`.

    Returns:
        Tensor `(..., E)`.
    """
    *others, width = tuple(x.shape)
    # Of rows without a width their number could not be found.
    if None not in others or not width:
        return function(x)
    rows = function(ops.reshape(x, (-1, width)))
    return ops.reshape(rows, (*sizes_of(x)[:-1], rows.shape[-1]))


def column_sums(x):
    """`(..., R, M) -> (..., M)`, as a product with ones.

    Into a sum over rows XLA draws the elementwise operations before it, and computes it
    one column after the other: ten times as long. It does the same with a single row of
    ones, and not with two.
    """
    ones = ops.ones((2, ops.shape(x)[-2]), dtype=x.dtype)
    return ops.matmul(ones, x)[..., 0, :]


def for_each_example(x, batch):
    """`(1, M, P) -> (B, M, P)`, whose gradient is one of `column_sums`."""
    sizes = ops.shape(x)[1:]

    def repeated(x):
        def gradient(upstream):
            rows = ops.reshape(upstream, (-1, math.prod(sizes)))
            return ops.reshape(column_sums(rows), (1, *sizes))

        return ops.broadcast_to(x, (batch, *sizes)), gradient

    return with_gradient(repeated)(x)
