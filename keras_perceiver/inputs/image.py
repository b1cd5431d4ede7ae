"""Images: their pixels on their grid."""

from keras_perceiver.inputs.base import InputAdapter
from keras_perceiver.serialization import serializable


@serializable
class ImageInput(InputAdapter):
    """Pixels of an image, each an input of its own.

    Args:
        shape: sequence (height, width, channels). Height and width may be `None`
            where images of any size come; the positions must then be Fourier.
        positions: `kp.FourierPositions` or `kp.LearnedPositions` of the grid.
        use_mask: bool. Whether the model also takes `"inputs_mask"`, bool
            `(B, height, width)`, `True` = attend.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        image: float tensor `(B, height, width, channels)`; the models of the paper
            are fed values within [-1, 1].

    Returns:
        Content on its grid: the same tensor in the compute dtype.

    Raises:
        ValueError: where an image does not have this shape.

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), section 4.1.
    """

    input_name = "image"

    def __init__(self, shape, positions, use_mask=False, **kwargs):
        if not isinstance(shape, (tuple, list)) or len(shape) != 3:
            raise ValueError(
                "`shape` of images must be (height, width, channels). "
                f"Received: shape={shape}"
            )
        super().__init__(shape, positions, use_mask=use_mask, **kwargs)
