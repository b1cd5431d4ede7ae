"""Content on a grid of any rank."""

import math

import keras

from keras_perceiver.initializers import FanInTruncatedNormal
from keras_perceiver.inputs.base import TensorAdapter
from keras_perceiver.inputs.patches import patch_grid, space_to_depth
from keras_perceiver.reading import reader_of
from keras_perceiver.serialization import serializable
from keras_perceiver.validation import check_positive


@serializable
class GridInput(TensorAdapter):
    """Content on a grid: each cell an input of its own, or each patch of cells.

    Args:
        shape: sequence (n_1, ..., n_d, c). Sizes of the grid may be `None` where
            they vary; the positions must then be Fourier.
        positions: `kp.FourierPositions` or `kp.LearnedPositions` of the grid of the
            inputs, which is that of the patches where there are some.
        patch_size: int, sequence of d ints, or `None`. Cells of a patch along each
            axis. A patch is one input with the channels of all its cells, row-major;
            patches at the far ends are filled up with zeros.
        projection_dim: int or `None`. Width to which a linear layer takes the channels
            of an input; a 1 x 1 convolution where there are no patches.
        use_mask: bool. Whether the model also takes a mask, bool
            `(B, n_1, ..., n_d)`, an entry for each input, `True` = attend.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: float tensor `(B, n_1, ..., n_d, c)`; with a mask, a dict with
            `"grid_mask"`, too.

    Returns:
        Content on its grid in the compute dtype, and the mask where there is one.

    Raises:
        ValueError: where the content does not have this shape.

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), sections 4.1 and 4.2.
    - `ImagePreprocessor` of DeepMind's published code.
    """

    input_name = "grid"
    patch_name = "patch_size"

    def __init__(
        self,
        shape,
        positions,
        patch_size=None,
        projection_dim=None,
        use_mask=False,
        **kwargs,
    ):
        # Before the rest, since the shape of the content depends on both.
        shape = self.checked_shape(shape)
        if patch_size is not None:
            grid = self._shape_on_grid(shape)[:-1]
            patch_size = _per_axis(patch_size, len(grid))
            self._check_patch(patch_size, grid)
        if projection_dim is not None:
            check_positive(projection_dim=projection_dim)
        self.patch_size = patch_size
        self.projection_dim = projection_dim
        super().__init__(shape, positions, use_mask=use_mask, **kwargs)

    def content_shape_of(self, shape):
        *grid, channels = self._shape_on_grid(shape)
        if self.patch_size is not None and channels is not None:
            channels *= math.prod(self.patch_size)
            grid = patch_grid(grid, self.patch_size)
        return (*grid, self.projection_dim or channels)

    @property
    def flops(self):
        if not self.projection_dim:
            return super().flops
        *grid, channels = self._shape_on_grid(self.shape)
        channels *= math.prod(self.patch_size or ())
        return super().flops + 2 * math.prod(self.content_shape) * channels

    def build(self, inputs_shape):
        super().build(inputs_shape)
        if self.projection_dim:
            *grid, channels = self._shape_on_grid(self.shape)
            channels *= math.prod(self.patch_size or ())
            self.projection = keras.layers.Dense(
                self.projection_dim,
                kernel_initializer=FanInTruncatedNormal(),
                dtype=self.dtype_policy,
                name="projection",
            )
            self.projection.build((None, *grid, channels))

    def content(self, raw, mask=None, training=None):
        content = self._on_grid(raw)
        if self.patch_size is not None:
            content = space_to_depth(content, self.patch_size)
        if not self.projection_dim:
            return content
        # The gradient of the kernel sees what is masked, and even NaN must not matter.
        content, _ = reader_of(self.positions).hide(content, mask)
        return self.projection(content)

    def get_config(self):
        return {
            **super().get_config(),
            "patch_size": self.patch_size,
            "projection_dim": self.projection_dim,
        }

    def _check_patch(self, patch_size, grid):
        # One that is larger is a mistake, and its channels may not fit in memory.
        sizes = zip(patch_size, grid, strict=True)
        if any(size is not None and own > size for own, size in sizes):
            raise ValueError(
                f"`{self.patch_name}` must not be larger than the input along any "
                f"axis. Received: {self.patch_name}={patch_size} for an input of "
                f"{tuple(grid)}"
            )

    # What subclasses change whose raw tensors are no grid with channels yet.

    def _shape_on_grid(self, shape):
        """From the shape of a raw example to `(n_1, ..., n_d, c)`."""
        return tuple(shape)

    def _on_grid(self, raw):
        """From a raw tensor to one of that shape."""
        return raw


def _per_axis(patch_size, rank):
    if not isinstance(patch_size, (tuple, list)):
        patch_size = (patch_size,) * rank
    for size in patch_size:
        check_positive(patch_size=size)
    if len(patch_size) != rank:
        raise ValueError(
            f"`patch_size` must be an integer, or one for each of the {rank} axes of "
            f"the grid. Received: patch_size={patch_size}"
        )
    return tuple(int(size) for size in patch_size)
