"""Reshapes of tensors whose batch is known only at run time, without work at run time.

One size of a reshape is found by itself. Sizes that are read and put together again
take longer in a small model than its attention.
"""

from keras import ops


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
