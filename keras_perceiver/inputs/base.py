"""What an encoder asks of any modality."""

import math

import keras

from keras_perceiver.positions import FourierPositions, LearnedPositions
from keras_perceiver.validation import check_instance, check_positive


class InputAdapter(keras.layers.Layer):
    """From a raw tensor to content that cross-attention reads.

    An adapter owns its width: it knows the channels of its content and of its
    positions, so that nobody computes C twice.

    Args:
        shape: tuple, the shape of one example, channels last; `None` where a size
            varies.
        positions: `kp.FourierPositions`, `kp.LearnedPositions` or `None`. Where the
            content is; cross-attends add these channels to it.
        use_mask: bool. Whether the model also takes `"inputs_mask"`, a bool tensor of
            the shape of the content without its channels, `True` = attend.
        **kwargs: `keras.layers.Layer` arguments.
    """

    # Name of the model's input; `keras.Model` objects are called with it.
    input_name = "inputs"

    def __init__(self, shape, positions=None, use_mask=False, **kwargs):
        kwargs.setdefault("name", f"{self.input_name}_adapter")
        super().__init__(**kwargs)
        check_instance((tuple, list), "a sequence of sizes", shape=shape)
        shape = tuple(shape)
        if len(shape) < 2 or shape[-1] is None:
            raise ValueError(
                "`shape` must be (n_1, ..., n_d, channels) with known channels. "
                f"Received: shape={shape}"
            )
        for size in shape:
            if size is not None:
                check_positive(shape=size)
        if positions is not None:
            check_instance(
                (FourierPositions, LearnedPositions),
                "`kp.FourierPositions` or `kp.LearnedPositions`",
                positions=positions,
            )
            positions.channels(shape[:-1])  # Raises where they do not fit.
        self.shape = shape
        self.positions = positions
        self.use_mask = use_mask

    @property
    def num_inputs(self):
        """M, the number of inputs read, or `None` where it varies."""
        grid = self.shape[:-1]
        return None if None in grid else math.prod(grid)

    @property
    def channels(self):
        """C, the channels of one input, positions included."""
        if self.positions is None:
            return self.shape[-1]
        return self.shape[-1] + self.positions.channels(self.shape[:-1])

    def symbolic_inputs(self):
        """The `keras.Input` of the raw tensor, and that of its mask or `None`."""
        inputs = keras.Input(self.shape, name=self.input_name, dtype="float32")
        if not self.use_mask:
            return inputs, None
        return inputs, keras.Input(self.shape[:-1], name="inputs_mask", dtype="bool")

    def build(self, inputs_shape):
        if self.positions is not None and not self.positions.built:
            self.positions.build()

    def call(self, inputs):
        self.compute_output_shape(inputs.shape)
        return inputs

    def compute_output_shape(self, inputs_shape):
        received = tuple(inputs_shape)[1:]
        if len(received) != len(self.shape) or any(
            None not in (own, other) and own != other
            for own, other in zip(self.shape, received, strict=True)
        ):
            raise ValueError(
                f"`{self.input_name}` must have the shape {(None, *self.shape)}, "
                "batch first and channels last. Received: "
                f"{self.input_name} of shape {tuple(inputs_shape)}"
            )
        return tuple(inputs_shape)

    @classmethod
    def from_config(cls, config):
        positions = config.get("positions")
        if isinstance(positions, dict):
            config = {**config, "positions": keras.layers.deserialize(positions)}
        return super().from_config(config)

    def get_config(self):
        return {
            **super().get_config(),
            "shape": self.shape,
            "positions": (
                None
                if self.positions is None
                else keras.layers.serialize(self.positions)
            ),
            "use_mask": self.use_mask,
        }
