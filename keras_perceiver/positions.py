"""Where each input is: Fourier features of grids and of points; learned positions."""

import math
import numbers

import keras
import numpy as np
from keras import ops

from keras_perceiver.initializers import (
    FanInTruncatedNormal,
    array_initializer,
)
from keras_perceiver.serialization import serializable
from keras_perceiver.validation import check_positive

# Bits of a short part: the product of two such parts is exact in float32.
_SHORT_BITS = 12
_COORDINATE_UNIT = 2.0 ** (1 - _SHORT_BITS)


def _short_parts(values, unit):
    """Numbers as a sum of three parts, the first two of at most 12 bits each.

    Args:
        values: NumPy array or tensor, of less than 2^12 units.
        unit: float, a power of two. The first part is in multiples of it.

    Returns:
        List of three arrays or tensors shaped like `values`.
    """
    rounding = np.round if isinstance(values, np.ndarray) else ops.round
    parts = []
    for scale in (unit, unit * 2.0**-_SHORT_BITS):
        part = rounding(values / scale) * scale
        parts.append(part)
        # The rest is exact, and carries the gradient that rounding has not.
        values = values - part
    return [*parts, values]


def _less_whole_turns(half_turns):
    """The same angle within [-1, 1] half turns."""
    return half_turns - 2.0 * ops.round(half_turns / 2.0)


@serializable
class FourierPositions(keras.layers.Layer):
    """Fourier features of positions on a grid or of arbitrary points.

    The channels of a position of rank d are the coordinates `x_1 .. x_d`, then
    `sin(pi f_k x_j)` with all bands k of axis 1, all bands of axis 2 and so on,
    then `cos(pi f_k x_j)` in the same order: P = d (2 K + 1) for K bands. The
    frequencies of an axis are `linspace(1, max_resolution / 2, K)`, both ends
    included. On a grid the coordinates of an axis are `linspace(-1, 1, n)`, both
    ends included; an axis of length 1 lies at -1.

    Each feature is within 1e-6 of its exact value, also where `pi f x` is in the
    thousands and float32 has lost those digits: products are exact, and whole turns
    are taken off before the sine sees the angle.

    Args:
        num_bands: int, K. Number of frequencies of each axis.
        max_resolution: int, sequence of one int an axis, or `None`. The number of
            samples a frequency of which the highest band is the Nyquist rate;
            `None` takes the size of the grid, and does not serve points.
        include_positions: bool. Whether the coordinates themselves are channels.
        sine_only: bool. Whether to leave the cosines out.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        points: float tensor `(..., d)`, coordinates within [-1, 1].

    Returns:
        Tensor `(..., P)` in the compute dtype of the layer.

    Raises:
        ValueError: where the rank does not fit `max_resolution`.

    Example:

    ```python
    positions = kp.FourierPositions(num_bands=64, max_resolution=(224, 224))
    positions.grid((224, 224)).shape  # (224, 224, 258)
    ```

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), section 3.2.
    - Channel order, frequencies and end points: DeepMind's published code.
    """

    def __init__(
        self,
        num_bands,
        max_resolution=None,
        include_positions=True,
        sine_only=False,
        **kwargs,
    ):
        # Coordinates in half precision would place inputs wrongly, so the layer
        # takes them as they are and casts its result.
        super().__init__(autocast=False, **kwargs)
        check_positive(num_bands=num_bands)
        if max_resolution is not None:
            is_number = isinstance(max_resolution, numbers.Real)
            resolutions = (max_resolution,) if is_number else tuple(max_resolution)
            if not resolutions or not all(
                isinstance(r, numbers.Real) and r > 0 for r in resolutions
            ):
                raise ValueError(
                    "`max_resolution` must be a positive number, or one for each axis. "
                    f"Received: max_resolution={max_resolution!r}"
                )
            # Plain numbers, which a config can hold.
            resolutions = tuple(np.asarray(resolutions).tolist())
            max_resolution = resolutions[0] if is_number else resolutions
        self.num_bands = int(num_bands)
        self.max_resolution = max_resolution
        self.include_positions = include_positions
        self.sine_only = sine_only

    def build(self, points_shape=None):
        """No variables; the positions are computed."""

    def channels(self, grid_shape):
        """P, the channels of a position on a grid; unknown sizes are `None`."""
        rank = len(grid_shape)
        self._resolutions(rank, default=grid_shape)
        return rank * self._channels_per_axis

    def call(self, points):
        rank = points.shape[-1]
        resolutions = self._resolutions(rank)
        points = self._cast(points)
        axes = [
            self._axis_features(
                _short_parts(points[..., j], _COORDINATE_UNIT), resolution
            )
            for j, resolution in enumerate(resolutions)
        ]
        return self.in_channel_order(axes)

    def grid(self, grid_shape):
        """Features of every position of a grid, row-major.

        Args:
            grid_shape: sequence of d sizes, ints or scalar int tensors.

        Returns:
            Tensor `(n_1, ..., n_d, P)`.
        """
        rank = len(grid_shape)
        axes = []
        for j, table in enumerate(self.axis_tables(grid_shape)):
            ones = (1,) * j, (1,) * (rank - 1 - j)
            table = ops.reshape(
                table, (*ones[0], grid_shape[j], *ones[1], self._channels_per_axis)
            )
            axes.append(ops.broadcast_to(table, (*grid_shape, self._channels_per_axis)))
        return self.in_channel_order(axes)

    def resized(self, grid_shape, new_grid_shape):
        """The positions of another grid, of the frequencies of this one.

        Args:
            grid_shape: sequence of d sizes, the grid that weights were trained for.
            new_grid_shape: sequence of d sizes.

        Raises:
            ValueError: where the frequencies come from a grid of unknown size.
        """
        resolution = self.max_resolution or tuple(grid_shape)
        if self.max_resolution is None and None in resolution:
            raise ValueError(
                "`max_resolution` must be given for inputs of another size where that "
                "of the trained ones is unknown. Received: max_resolution=None for a "
                f"grid {tuple(grid_shape)}"
            )
        config = {**self.get_config(), "max_resolution": resolution}
        return type(self).from_config(config)

    def axis_tables(self, grid_shape):
        """The features of each axis alone: every channel depends on one axis.

        Args:
            grid_shape: sequence of d sizes, ints or scalar int tensors.

        Returns:
            List of d tensors `(n_j, 1 + 2 K)`: coordinate, sines, cosines (those
            that the layer has).
        """
        resolutions = self._resolutions(len(grid_shape), default=grid_shape)
        return [
            self._axis_features(self._axis_coordinates(size), resolution)
            for size, resolution in zip(grid_shape, resolutions, strict=True)
        ]

    def in_channel_order(self, axes):
        """Joins features of the axes: coordinates, then all sines, then all cosines.

        Args:
            axes: list of d tensors `(..., 1 + 2 K)`, as in `axis_tables`.

        Returns:
            Tensor `(..., P)`.
        """
        first = int(self.include_positions)
        parts = [features[..., :first] for features in axes] if first else []
        for wave in range(self._waves):
            start = first + wave * self.num_bands
            stop = start + self.num_bands
            parts += [features[..., start:stop] for features in axes]
        return ops.concatenate(parts, axis=-1)

    def axis_channels(self, rank):
        """Where the features of each axis stand among the P channels.

        Returns:
            List of d lists, each with `1 + 2 K` indices, in the order of
            `axis_tables`.
        """
        first = int(self.include_positions)
        bands = range(self.num_bands)
        return [
            [axis] * first
            + [
                rank * first + (wave * rank + axis) * self.num_bands + band
                for wave in range(self._waves)
                for band in bands
            ]
            for axis in range(rank)
        ]

    def compute_output_shape(self, points_shape):
        return (*points_shape[:-1], self.channels((None,) * points_shape[-1]))

    def get_config(self):
        return {
            **super().get_config(),
            "num_bands": self.num_bands,
            "max_resolution": self.max_resolution,
            "include_positions": self.include_positions,
            "sine_only": self.sine_only,
        }

    @property
    def _waves(self):
        return 1 if self.sine_only else 2

    @property
    def _channels_per_axis(self):
        return int(self.include_positions) + self._waves * self.num_bands

    def _resolutions(self, rank, default=None):
        """One maximal resolution an axis."""
        if self.max_resolution is None:
            if default is None:
                raise ValueError(
                    "`max_resolution` must be given for positions of points, which "
                    "have no grid to take it from. Received: max_resolution=None"
                )
            return tuple(default)
        if isinstance(self.max_resolution, numbers.Real):
            return (self.max_resolution,) * rank
        if len(self.max_resolution) != rank:
            raise ValueError(
                "`max_resolution` must have one entry for each axis of the "
                f"positions. Received: max_resolution={self.max_resolution} for "
                f"positions of {rank} axes"
            )
        return self.max_resolution

    def _axis_coordinates(self, size):
        """`linspace(-1, 1, size)` as short parts, each `(n,)`."""
        if isinstance(size, int):
            return _short_parts(np.linspace(-1.0, 1.0, size), _COORDINATE_UNIT)
        steps = ops.cast(ops.arange(size), "float64")
        last = ops.cast(ops.maximum(size - 1, 1), "float64")
        return _short_parts(2.0 * steps / last - 1.0, _COORDINATE_UNIT)

    def _axis_features(self, coordinate_parts, resolution):
        """Features of one axis, parts `(...)` -> `(..., 1 + 2 K)`."""
        if ops.is_tensor(resolution):
            highest = ops.cast(resolution, "float64") / 2.0
            steps = ops.linspace(0.0, 1.0, self.num_bands, dtype="float64")
            frequency_parts = _short_parts(1.0 + (highest - 1.0) * steps, 1.0)
        else:
            frequencies = np.linspace(1.0, resolution / 2.0, self.num_bands)
            bits = math.ceil(math.log2(frequencies.max()))
            frequency_parts = _short_parts(frequencies, 2.0 ** (bits + 1 - _SHORT_BITS))
        coordinate_parts = [self._cast(part) for part in coordinate_parts]
        # Products of short parts are exact; whole turns are taken off each before
        # they are added, so that only small numbers are ever rounded.
        half_turns = 0.0
        for coordinates in coordinate_parts:
            for frequencies in frequency_parts:
                product = coordinates[..., None] * self._cast(frequencies)
                half_turns = _less_whole_turns(half_turns + _less_whole_turns(product))
        angle = math.pi * half_turns
        features = [ops.sin(angle)]
        if self.include_positions:
            features.insert(0, sum(reversed(coordinate_parts))[..., None])
        if not self.sine_only:
            features.append(ops.cos(angle))
        return ops.cast(ops.concatenate(features, axis=-1), self.compute_dtype)

    def _cast(self, part):
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        return ops.cast(ops.convert_to_tensor(part), dtype)


@serializable
class LearnedPositions(keras.layers.Layer):
    """A learned vector for each input.

    Args:
        shape: int or sequence of d ints. The grid the positions are for; an int M
            is a sequence of M inputs.
        dim: int, P. Width of a position.
        initializer: defaults to a truncated normal of standard deviation 0.02.
        projection_dim: int or `None`. Width to which a linear layer takes the learned
            vectors; P is then this.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        indices: int tensor, row-major indices of inputs in [0, M).

    Returns:
        Tensor `(*indices.shape, P)`.

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), section 4.1.
    - `TrainablePositionEncoding` of DeepMind's published code.
    """

    def __init__(self, shape, dim, initializer=None, projection_dim=None, **kwargs):
        super().__init__(**kwargs)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        for size in shape:
            check_positive(shape=size)
        check_positive(dim=dim)
        if projection_dim is not None:
            check_positive(projection_dim=projection_dim)
        self.shape = shape
        self.dim = dim
        self.projection_dim = projection_dim
        self.initializer = (
            keras.initializers.get(initializer) if initializer else array_initializer()
        )

    def build(self, indices_shape=None):
        self.embeddings = self.add_weight(
            shape=(math.prod(self.shape), self.dim),
            initializer=self.initializer,
            name="embeddings",
        )
        if self.projection_dim:
            self.projection = keras.layers.Dense(
                self.projection_dim,
                kernel_initializer=FanInTruncatedNormal(),
                dtype=self.dtype_policy,
                name="projection",
            )
            self.projection.build((None, self.dim))

    def channels(self, grid_shape):
        """P, the channels of a position on a grid; unknown sizes are `None`.

        Raises:
            ValueError: where the grid is not that of the learned positions.
        """
        sizes = tuple(grid_shape)
        if len(sizes) != len(self.shape) or any(
            isinstance(size, int) and size != own
            for size, own in zip(sizes, self.shape, strict=True)
        ):
            raise ValueError(
                "`shape` of learned positions must be the grid of the content. "
                f"Received: shape={self.shape} for content on a grid {sizes}"
            )
        return self.projection_dim or self.dim

    def resized(self, grid_shape, new_grid_shape):
        """Positions of another grid, whose vectors `interpolated` has."""
        return type(self).from_config({**self.get_config(), "shape": new_grid_shape})

    def interpolated(self, shape):
        """The vectors of another grid: linear between those of the nearest positions.

        Args:
            shape: sequence of d ints. As with Fourier features both grids reach from
                -1 to 1 along each axis.

        Returns:
            NumPy array `(M, dim)`.
        """
        table = ops.convert_to_numpy(self.embeddings)
        table = table.reshape(*self.shape, self.dim)
        for axis, size in enumerate(shape):
            last = table.shape[axis] - 1
            places = np.linspace(0.0, last, size)
            low = np.floor(places).astype(int)
            parts = (places - low).astype(table.dtype)
            parts = parts.reshape(-1, *[1] * (table.ndim - 1 - axis))
            high = np.minimum(low + 1, last)
            table = (1 - parts) * table.take(low, axis) + parts * table.take(high, axis)
        return table.reshape(-1, self.dim)

    @property
    def flops(self):
        """FLOPs of the positions of all inputs, which the examples of a batch share."""
        return 2 * math.prod(self.shape) * self.dim * (self.projection_dim or 0)

    def call(self, indices):
        return self._project(ops.take(self.embeddings, indices, axis=0))

    def grid(self, grid_shape):
        """The positions of a whole grid, `(n_1, ..., n_d, P)`."""
        self.channels(grid_shape)
        if not self.built:
            self.build()
        table = self._project(self.embeddings)
        return ops.reshape(table, (*self.shape, table.shape[-1]))

    def _project(self, embeddings):
        embeddings = ops.cast(embeddings, self.compute_dtype)
        return self.projection(embeddings) if self.projection_dim else embeddings

    def compute_output_shape(self, indices_shape):
        return (*indices_shape, self.projection_dim or self.dim)

    def get_config(self):
        return {
            **super().get_config(),
            "shape": self.shape,
            "dim": self.dim,
            "initializer": keras.initializers.serialize(self.initializer),
            "projection_dim": self.projection_dim,
        }
