"""Arrays whose channels already say everything, positions included."""

from keras_perceiver.inputs.base import TensorAdapter
from keras_perceiver.serialization import serializable


@serializable
class ArrayInput(TensorAdapter):
    """A byte array that the user has made, such as the rows of a table.

    Args:
        shape: sequence (M, C); M may be `None` where it varies.
        use_mask: bool. Whether the model also takes a mask, bool `(B, M)`,
            `True` = attend.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: float tensor `(B, M, C)`; with a mask, a dict with `"inputs_mask"`, too.

    Returns:
        The same tensor in the compute dtype, and the mask where there is one.

    Raises:
        ValueError: where the array does not have this shape.
    """

    kind = "arrays"
    axes = ("M", "C")

    def __init__(self, shape, use_mask=False, **kwargs):
        super().__init__(shape, positions=None, use_mask=use_mask, **kwargs)

    def get_config(self):
        config = super().get_config()
        del config["positions"]  # There are none beside the channels.
        return config
