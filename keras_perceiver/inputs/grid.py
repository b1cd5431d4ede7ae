"""Content on a grid of any rank."""

from keras_perceiver.inputs.base import InputAdapter
from keras_perceiver.serialization import serializable


@serializable
class GridInput(InputAdapter):
    """Content on a grid, each cell an input of its own.

    Args:
        shape: sequence (n_1, ..., n_d, c). Sizes of the grid may be `None` where
            they vary; the positions must then be Fourier.
        positions: `kp.FourierPositions` or `kp.LearnedPositions` of the grid.
        use_mask: bool. Whether the model also takes `"inputs_mask"`, bool
            `(B, n_1, ..., n_d)`, `True` = attend.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        grid: float tensor `(B, n_1, ..., n_d, c)`.

    Returns:
        The same tensor in the compute dtype.

    Raises:
        ValueError: where the content does not have this shape.
    """

    input_name = "grid"

    def __init__(self, shape, positions, use_mask=False, **kwargs):
        super().__init__(shape, positions, use_mask=use_mask, **kwargs)
