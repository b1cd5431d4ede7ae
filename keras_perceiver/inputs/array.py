"""Arrays whose channels already say everything, positions included."""

from keras_perceiver.inputs.base import InputAdapter
from keras_perceiver.serialization import serializable


@serializable
class ArrayInput(InputAdapter):
    """A byte array that the user has made, with an optional mask.

    Args:
        shape: sequence (M, C); M may be `None` where it varies.
        use_mask: bool. Whether the model also takes `inputs_mask`, bool `(B, M)`,
            `True` = attend.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: float tensor `(B, M, C)`.

    Returns:
        The same tensor in the compute dtype.

    Raises:
        ValueError: where the array does not have this shape.
    """

    input_name = "inputs"

    def __init__(self, shape, use_mask=False, **kwargs):
        if not isinstance(shape, (tuple, list)) or len(shape) != 2:
            raise ValueError(
                f"`shape` of arrays must be (M, C). Received: shape={shape}"
            )
        super().__init__(shape, use_mask=use_mask, **kwargs)

    def get_config(self):
        config = super().get_config()
        del config["positions"]  # There are none beside the channels.
        return config
