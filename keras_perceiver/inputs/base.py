"""What an encoder asks of any modality."""

import keras
from keras import ops

from keras_perceiver.reading import reader_of
from keras_perceiver.serialization import serialize_shared
from keras_perceiver.validation import check_instance, check_positive


class InputAdapter(keras.layers.Layer):
    """From what a model takes to content that cross-attention reads.

    An adapter owns its width: it knows the channels of its content and of its
    positions, so that nobody computes C twice.

    Args:
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: what the model takes, as `symbolic_inputs` gives it.
        training: bool or `None`.

    Returns:
        The content; where `has_mask`, a pair of the content and its mask.
    """

    def __init__(self, **kwargs):
        # Ids and coordinates must not be rounded; content is cast when it is made.
        super().__init__(autocast=False, **kwargs)

    @property
    def content_shape(self):
        """The shape of one example's content, channels last, or a dict of them."""
        raise NotImplementedError

    @property
    def grid_positions(self):
        """The positions that cross-attends add to the content, or `None`."""
        raise NotImplementedError

    @property
    def has_mask(self):
        """Whether the content comes with a mask."""
        raise NotImplementedError

    def symbolic_inputs(self):
        """The `keras.Input` that the model takes, or a dict of them by name."""
        raise NotImplementedError

    def modalities(self):
        """Dict from names to adapters of one tensor each, in the order of inputs."""
        raise NotImplementedError

    def resized(self, shape):
        """An adapter like this for inputs of another size; it may fit the same weights.

        Args:
            shape: the `shape` of the new adapter, or a dict of them by modality.
        """
        raise NotImplementedError

    @property
    def flops(self):
        """FLOPs of making the content of one example, 2 for each multiplication of
        its products; what all examples share is counted as if there were one."""
        return 0

    @property
    def num_inputs(self):
        """M, the number of inputs read, or `None` where it varies."""
        return self._flat_shape[1]

    @property
    def channels(self):
        """C, the channels of one input, positions included."""
        return self._flat_shape[2]

    @property
    def _flat_shape(self):
        shape = self.content_shape
        if isinstance(shape, dict):
            shape = {name: (None, *own) for name, own in shape.items()}
        else:
            shape = (None, *shape)
        return reader_of(self.grid_positions).flat_shape(shape)


class TensorAdapter(InputAdapter):
    """From one raw tensor, and a mask where it has one, to content.

    A modality of its own is a subclass that says what content it makes:
    `content_shape_of`, `content`, and `content_mask` where the mask is not as given.

    Args:
        shape: tuple, the shape of one raw example; `None` where a size varies.
        positions: `kp.FourierPositions`, `kp.LearnedPositions` or `None`. Where the
            content is; cross-attends add these channels to it.
        use_mask: bool. Whether the model also takes a mask, named as the tensor with
            `"_mask"` after it: a bool tensor of the shape of the content without its
            channels, `True` = attend.
        **kwargs: `keras.layers.Layer` arguments.
    """

    # Name of the model's input, and its dtype.
    input_name = "inputs"
    raw_dtype = "float32"
    # What the raw tensors are and what their axes mean, for errors; any where empty.
    kind = "inputs"
    axes = ()

    def __init__(self, shape, positions=None, use_mask=False, **kwargs):
        kwargs.setdefault("name", f"{self.input_name}_adapter")
        super().__init__(**kwargs)
        shape = self.checked_shape(shape)
        self.shape = shape
        self.positions = positions
        self.use_mask = use_mask
        reader = reader_of(self.grid_positions)
        content_shape = self.content_shape
        if len(content_shape) < 2 or content_shape[-1] is None:
            raise ValueError(
                "`shape` must be (n_1, ..., n_d, channels) with known channels. "
                f"Received: shape={shape}"
            )
        reader.flat_shape((None, *content_shape))  # Raises where they do not fit.

    @classmethod
    def checked_shape(cls, shape):
        """A shape as a tuple; raises where it is none of such raw examples."""
        check_instance((tuple, list), "a sequence of sizes", shape=shape)
        shape = tuple(shape)
        if cls.axes and len(shape) != len(cls.axes):
            axes = ", ".join(cls.axes)
            raise ValueError(
                f"`shape` of {cls.kind} must be ({axes}). Received: shape={shape}"
            )
        for size in shape:
            if size is not None:
                check_positive(shape=size)
        return shape

    def content_shape_of(self, shape):
        """The shape of the content of a raw example of a shape."""
        return tuple(shape)

    def content(self, raw, mask=None, training=None):
        """The content `(B, n_1, ..., n_d, c)` or `(B, M, C)` of a raw tensor.

        Cross-attends hide what is masked; a mask matters here where weights see it.
        """
        return raw

    def content_mask(self, raw, mask):
        """The mask of the content, from the raw tensor and the mask or `None`."""
        return mask

    def lay_out(self, values, shape):
        """Puts a value for each input where that lies in a raw example.

        Args:
            values: NumPy array `(..., M)`, such as attention to the inputs.
            shape: tuple, the shape of the raw example.

        Returns:
            Array `(..., n_1, ..., n_d)` on the grid of the inputs, which is that of
            the patches where there are some.
        """
        return values.reshape(*values.shape[:-1], *self.content_shape_of(shape)[:-1])

    def resized(self, shape):
        shape = self.checked_shape(shape)
        config = {**self.get_config(), "shape": shape}
        if self.positions is not None:
            grids = self.position_grid(self.shape), self.position_grid(shape)
            config["positions"] = self.positions.resized(*grids)
        return type(self).from_config(config)

    def position_grid(self, shape):
        """The grid of the positions of a raw example of a shape."""
        return self.content_shape_of(shape)[:-1]

    @property
    def content_shape(self):
        return self.content_shape_of(self.shape)

    @property
    def grid_positions(self):
        return self.positions

    @property
    def has_mask(self):
        return self.use_mask

    @property
    def flops(self):
        return getattr(self.positions, "flops", 0)

    @property
    def mask_name(self):
        """Name of the model's mask input, where there is one."""
        return f"{self.input_name}_mask"

    def modalities(self):
        return {self.input_name: self}

    def take_name(self, modality):
        """Names the adapter and its inputs after one of several modalities.

        Raises:
            ValueError: where the adapter already serves under another name.
        """
        name = f"{modality}_adapter"
        if name != self.name and (self.built or "input_name" in vars(self)):
            raise ValueError(
                "An adapter that already serves under another name must not be renamed;"
                " make one of its own for each modality and model. Received: "
                f"{self.name!r} for the modality {modality!r}"
            )
        # Layers that bear one name would have variables of the same path.
        self.name = name
        self.input_name = modality

    def symbolic_inputs(self):
        raw = keras.Input(self.shape, name=self.input_name, dtype=self.raw_dtype)
        if not self.use_mask:
            return raw
        shape = self.content_shape[:-1]
        mask = keras.Input(shape, name=self.mask_name, dtype="bool")
        return {self.input_name: raw, self.mask_name: mask}

    def build(self, inputs_shape):
        if self.positions is not None and not self.positions.built:
            self.positions.build()

    def call(self, inputs, training=None):
        raw, mask = self._split(inputs)
        self._check_shape(raw.shape)
        if "float" not in keras.backend.standardize_dtype(raw.dtype):
            raw = ops.cast(raw, self.raw_dtype)  # Pixels may come as integers.
        content = ops.cast(self.content(raw, mask, training), self.compute_dtype)
        return (content, self.content_mask(raw, mask)) if self.has_mask else content

    def compute_output_spec(self, inputs, training=None):
        raw, _ = self._split(inputs)
        self._check_shape(raw.shape)
        shape = (raw.shape[0], *self.content_shape_of(raw.shape[1:]))
        content = keras.KerasTensor(shape, self.compute_dtype)
        if not self.has_mask:
            return content
        return content, keras.KerasTensor(shape[:-1], "bool")

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
            "positions": serialize_shared(self.positions),
            "use_mask": self.use_mask,
        }

    def _split(self, inputs):
        """The raw tensor, and its mask or `None`."""
        names = {self.input_name, self.mask_name}
        if not self.use_mask:
            if isinstance(inputs, dict):
                raise ValueError(
                    f"`{self.input_name}` must be a tensor where there is no mask; "
                    f"`use_mask=True` takes one. Received: a dict of {sorted(inputs)}"
                )
            return inputs, None
        if not isinstance(inputs, dict) or set(inputs) != names:
            raise ValueError(
                f"With `use_mask=True` the input must be a dict of {sorted(names)}. "
                f"Received: {type(inputs).__name__}"
                + (f" of {sorted(inputs)}" if isinstance(inputs, dict) else "")
            )
        return inputs[self.input_name], inputs[self.mask_name]

    def _check_shape(self, shape):
        received = tuple(shape)[1:]
        if len(received) != len(self.shape) or any(
            None not in (own, other) and own != other
            for own, other in zip(self.shape, received, strict=True)
        ):
            raise ValueError(
                f"`{self.input_name}` must have the shape {(None, *self.shape)}, "
                f"batch first. Received: {self.input_name} of shape {tuple(shape)}"
            )
