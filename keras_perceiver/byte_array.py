"""The byte array: what cross-attention asks of its inputs, and nothing else.

Attention with keys and values linear in a layer normalization of the inputs needs three
products of the byte array X, `(B, M, C)`, and never its keys, its values or X itself:

- `scores(u)`: every row dotted with every input, `(B, R, C) -> (B, R, M)`;
- `mix(w)`: a weighted sum of the inputs for every row, `(B, R, M) -> (B, R, C)`;
- `spread(w, u)`: a weighted sum of the rows for every input, the others' gradient.

Every Fourier channel of a grid depends on one axis, so that on a grid `scores` is an
outer sum of one small table an axis, and `mix` one marginal sum an axis.
"""

import math

from keras import ops


class ByteArray:
    """Content, and the features of each axis of the grid it lies on.

    Args:
        content: float tensor `(B, M, c)`, row-major where it lies on a grid.
        positions: `kp.FourierPositions`, or `None` where the content is all.
        grid: tuple of d sizes, of which M is the product.
    """

    def __init__(self, content, positions=None, grid=None):
        self.content = content
        self.positions = positions
        self.grid = grid
        self.tables = []
        self.axis_channels = []
        if positions is not None:
            dtype = content.dtype
            self.tables = [ops.cast(t, dtype) for t in positions.axis_tables(grid)]
            width = content.shape[-1]
            self.axis_channels = [
                [width + channel for channel in channels]
                for channels in positions.axis_channels(len(grid))
            ]

    @property
    def channels(self):
        """C, the channels of content and positions."""
        return self.content.shape[-1] + sum(t.shape[-1] for t in self.tables)

    def with_content(self, content):
        """The same positions beside other content, such as a part of the batch."""
        other = object.__new__(ByteArray)
        other.__dict__ = {**self.__dict__, "content": content}
        return other

    def deviation(self, epsilon):
        """What layer normalization divides by: `sqrt(variance + epsilon)`, `(B, M)`.

        The means and the sums of squares of content and axes are combined in the way
        of Chan et al. (1979), which does not cancel for content far from zero.
        """
        parts = [_moments(self.content)]
        for axis, table in enumerate(self.tables):
            mean, squares, count = _moments(table)
            shape = [1] * (len(self.grid) + 1)
            shape[axis + 1] = self.grid[axis]
            flat = (1, -1)
            parts.append(
                tuple(
                    ops.reshape(
                        ops.broadcast_to(ops.reshape(x, shape), (1, *self.grid)), flat
                    )
                    for x in (mean, squares)
                )
                + (count,)
            )
        mean = sum(mean * count for mean, _, count in parts) / self.channels
        squares = sum(s + n * ops.square(m - mean) for m, s, n in parts)
        return ops.sqrt(squares / self.channels + epsilon)

    def scores(self, u):
        """`(B, R, C) -> (B, R, M)`, one dot product for each row and input."""
        width = self.content.shape[-1]
        scores = ops.matmul(u[..., :width], ops.swapaxes(self.content, 1, 2))
        if not self.tables:
            return scores
        batch, rows, _ = ops.shape(scores)
        terms = [
            ops.matmul(ops.take(u, channels, axis=-1), ops.transpose(table))
            for channels, table in zip(self.axis_channels, self.tables, strict=True)
        ]
        # The axes but the last are summed into one small table, so that only two
        # terms are ever added to the large array.
        outer = terms[0]
        for term in terms[1:-1]:
            outer = outer[..., None] + term[:, :, None, :]
            outer = ops.reshape(outer, (batch, rows, -1))
        if len(terms) > 1:
            shape = (batch, rows, math.prod(self.grid[:-1]), self.grid[-1])
            scores = ops.reshape(scores, shape)
            scores = (scores + outer[..., None]) + terms[-1][:, :, None, :]
            return ops.reshape(scores, (batch, rows, -1))
        return scores + outer

    def mix(self, w):
        """`(B, R, M) -> (B, R, C)`, a weighted sum of the inputs for each row."""
        content = ops.matmul(w, self.content)
        if not self.tables:
            return content
        batch, rows, _ = ops.shape(w)
        last = self.grid[-1]
        w = ops.reshape(w, (batch, rows, -1, last))
        outer, inner = ops.sum(w, axis=3), ops.sum(w, axis=2)
        marginals = []
        if len(self.grid) == 1:
            marginals = [inner]
        else:
            outer = ops.reshape(outer, (batch, rows, *self.grid[:-1]))
            axes = range(2, len(self.grid) + 1)
            for axis in axes:
                others = tuple(other for other in axes if other != axis)
                marginals.append(ops.sum(outer, axis=others) if others else outer)
            marginals.append(inner)
        features = [
            ops.matmul(marginal, table)
            for marginal, table in zip(marginals, self.tables, strict=True)
        ]
        return ops.concatenate(
            [content, self.positions.in_channel_order(features)], axis=-1
        )

    def spread(self, w, u):
        """The gradient of the content: `(B, R, M), (B, R, C) -> (B, M, c)`."""
        width = self.content.shape[-1]
        return ops.matmul(ops.swapaxes(w, 1, 2), u[..., :width])


def _moments(x):
    """Mean and centred sum of squares over the channels, and their number."""
    mean = ops.mean(x, axis=-1)
    squares = ops.sum(ops.square(x - mean[..., None]), axis=-1)
    return mean, squares, x.shape[-1]
