"""Patches of a grid of any rank, each a single input."""

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
    batch, *grid, channels = ops.shape(content)
    rank = len(patch)
    split = [batch]
    for size, own in zip(grid, patch, strict=True):
        split += [size // own, own]
        channels *= own
    outer, inner = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    content = ops.reshape(content, (*split, content.shape[-1]))
    content = ops.transpose(content, (0, *outer, *inner, 2 * rank + 1))
    return ops.reshape(content, (batch, *split[1::2], channels))


def _whole_patches(content, axis, size):
    shape = list(ops.shape(content))
    missing = -shape[axis] % size
    if isinstance(missing, int) and missing == 0:
        return content
    shape[axis] = missing
    return ops.concatenate([content, ops.zeros(shape, content.dtype)], axis=axis)
