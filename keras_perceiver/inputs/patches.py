"""Patches of a grid of any rank, each a single input."""

import math

from keras import ops


def patch_grid(grid, patch):
    """The sizes of the grid of patches; `None` where they are unknown."""
    return tuple(
        None if size is None else -(-size // own)
        for size, own in zip(grid, patch, strict=True)
    )


def space_to_depth(content, patch):
    """Moves what a patch holds into its channels, ordered as on the grid.

    A patch of p_1 x ... x p_d cells of c channels has p_1 ... p_d c channels, row-major
    and channels last: (dt, dh, dw, c) for video. Grids that patches do not divide are
    continued with zeros at their far ends.

    Args:
        content: tensor `(B, n_1, ..., n_d, c)`.
        patch: tuple of d ints.

    Returns:
        Tensor `(B, ceil(n_1 / p_1), ..., ceil(n_d / p_d), p_1 ... p_d c)`.

    References:
    - `space_to_depth` of DeepMind's published code.
    """
    for axis, own in enumerate(patch, start=1):
        content = _whole_patches(content, axis, own)
    # One axis at a time, from the last: runtimes of exported models know few axes.
    for axis, own in reversed(list(enumerate(patch, start=1))):
        *before, size = ops.shape(content)[: axis + 1]
        *after, channels = ops.shape(content)[axis + 1 :]
        count = size // own
        content = ops.reshape(content, (-1, count, own, math.prod(after), channels))
        content = ops.transpose(content, (0, 1, 3, 2, 4))
        content = ops.reshape(content, (*before, count, *after, own * channels))
    return content


def _whole_patches(content, axis, size):
    shape = list(ops.shape(content))
    missing = -shape[axis] % size
    if isinstance(missing, int) and missing == 0:
        return content
    shape[axis] = missing
    return ops.concatenate([content, ops.zeros(shape, content.dtype)], axis=axis)
