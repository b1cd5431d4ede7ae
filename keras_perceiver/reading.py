"""How content and positions become the byte array that cross-attention reads.

Inputs of one modality are content on a grid, `(B, n_1, ..., n_d, c)`, to which
positions add channels; without positions, `(B, M, C)`, the content is all. Several
modalities stand one after the other, each padded with learned constants to a common
width.

A reader knows all that without weights of its own. `reader_of(positions)` gives it.
"""

import math

from keras import ops

from keras_perceiver.byte_array import ByteArray, ConcatenatedByteArray
from keras_perceiver.cost import Part
from keras_perceiver.masks import check_mask
from keras_perceiver.modalities import MultimodalPositions
from keras_perceiver.positions import FourierPositions, LearnedPositions
from keras_perceiver.shapes import sizes_of
from keras_perceiver.sums import for_each_example
from keras_perceiver.validation import check_instance


def reader_of(positions):
    """The reader of content that has these positions.

    Args:
        positions: `kp.FourierPositions`, `kp.LearnedPositions`,
            `kp.MultimodalPositions` or `None`.

    Raises:
        ValueError: where `positions` is none of these.
    """
    if isinstance(positions, MultimodalPositions):
        return MultimodalReader(positions)
    if positions is not None:
        check_instance(
            (FourierPositions, LearnedPositions),
            "`kp.FourierPositions`, `kp.LearnedPositions` or `kp.MultimodalPositions`",
            positions=positions,
        )
    return Reader(positions)


class Reader:
    """Reads one modality.

    Args:
        positions: `kp.FourierPositions`, `kp.LearnedPositions` or `None`.
        name: string. What errors call the content.
    """

    def __init__(self, positions, name="inputs"):
        self.positions = positions
        self.name = name

    @property
    def has_grid(self):
        """Whether every channel of the positions depends on one axis alone."""
        return isinstance(self.positions, FourierPositions)

    def build(self, inputs_shape):
        """Builds the positions, once."""
        if self.positions is not None and not self.positions.built:
            self.positions.build()

    def flat_shape(self, inputs_shape):
        """The shape `(B, M, C)` of the byte array; B and M may be `None`.

        Raises:
            ValueError: where the content does not suit its positions.
        """
        if isinstance(inputs_shape, dict):
            raise ValueError(
                f"`{self.name}` may be a dict of modalities where `positions` is "
                "`kp.MultimodalPositions`, with an entry for each of them. "
                f"Received: {self.name} with the keys {sorted(inputs_shape)}"
            )
        shape = tuple(inputs_shape)
        if self.positions is None and len(shape) != 3:
            raise ValueError(
                f"`{self.name}` must have the shape (batch, inputs, channels) where no "
                "`positions` are given; content on a grid needs them. "
                f"Received: {self.name} of shape {shape}"
            )
        if len(shape) < 3:
            raise ValueError(
                f"`{self.name}` must be content on a grid, (batch, n_1, ..., channels)."
                f" Received: {self.name} of shape {shape}"
            )
        if shape[-1] is None:
            raise ValueError(
                f"The last axis of `{self.name}`, its channels, must be known. "
                f"Received: {self.name} of shape {shape}"
            )
        grid = shape[1:-1]
        width = shape[-1]
        if self.positions is not None:
            width += self.positions.channels(grid)
        return shape[0], None if None in grid else math.prod(grid), width

    def parts(self, inputs_shape):
        """What the cost of reading depends on, a list of `kp.cost.Part`."""
        _, num_inputs, channels = self.flat_shape(inputs_shape)
        read = inputs_shape[-1] if self.has_grid else None
        return [Part(num_inputs, channels, read)]

    def cast(self, inputs, dtype):
        """The content in another dtype; pixels may come as integers."""
        return ops.cast(inputs, dtype)

    def hide(self, inputs, mask):
        """Content without what is masked, of which even NaN must not matter.

        Args:
            inputs: the content.
            mask: bool tensor `(B, M)` or `(B, n_1, ..., n_d)`, `True` = attend, or
                `None`.

        Returns:
            Pair of the content, zero where it is masked, and the mask `(B, M)` or
            `None`.
        """
        if mask is None:
            return inputs, None
        mask = self._flat_mask(mask, inputs)
        open_shape = (-1, *ops.shape(inputs)[1:-1], 1)
        is_open = ops.reshape(ops.cast(mask, "bool"), open_shape)
        return ops.where(is_open, inputs, ops.zeros_like(inputs)), mask

    def dense(self, inputs):
        """The dense byte array `(B, M, C)`: content, then positions."""
        if self.positions is None:
            return inputs
        content = self._flat_content(inputs)
        batch, num_inputs, _ = ops.shape(content)
        features = self.positions.grid(ops.shape(inputs)[1:-1])
        width = features.shape[-1]
        features = ops.reshape(ops.cast(features, inputs.dtype), (1, num_inputs, width))
        if self.has_grid:
            features = ops.broadcast_to(features, (batch, num_inputs, width))
        else:
            features = for_each_example(features, batch)
        return ops.concatenate([content, features], axis=-1)

    def byte_array(self, inputs, dtype):
        """The byte array with what a grid spares, a `ByteArray` in a dtype."""
        if not self.has_grid:
            return ByteArray(ops.cast(self.dense(inputs), dtype))
        content = ops.cast(self._flat_content(inputs), dtype)
        return ByteArray(content, self.positions, tuple(ops.shape(inputs)[1:-1]))

    def _flat_content(self, inputs):
        batch, *grid, width = sizes_of(inputs)
        return ops.reshape(inputs, (batch, math.prod(grid), width))

    def _flat_mask(self, mask, inputs):
        mask_name = self.name.replace("inputs", "inputs_mask", 1)
        if isinstance(mask, dict):
            raise ValueError(
                f"`{mask_name}` may be a dict where `positions` is "
                f"`kp.MultimodalPositions`. Received: a dict of {sorted(mask)}"
            )
        mask = ops.convert_to_tensor(mask)
        batch, *sizes = tuple(mask.shape) or (None,)
        allowed = [(self.flat_shape(inputs.shape)[1],), tuple(inputs.shape[1:-1])]
        fits = any(_shapes_agree(sizes, shape) for shape in allowed)
        if not fits or not (batch == 1 or _shapes_agree([batch], inputs.shape[:1])):
            raise ValueError(
                f"`{mask_name}` must have one entry for each input, (batch, inputs) or "
                f"that of their grid. Received: {mask_name} of shape "
                f"{tuple(mask.shape)} for inputs of shape {tuple(inputs.shape)}"
            )
        if len(sizes) == 1:
            return mask
        return ops.reshape(mask, (ops.shape(mask)[0], -1))


class MultimodalReader:
    """Reads a dict of modalities, in the order of their names.

    Args:
        positions: `kp.MultimodalPositions`. Its paddings follow the channels of
            content and positions.
    """

    def __init__(self, positions):
        self.positions = positions
        self.readers = {
            name: Reader(own, f"inputs[{name!r}]")
            for name, own in positions.positions.items()
        }

    @property
    def has_grid(self):
        return any(reader.has_grid for reader in self.readers.values())

    def build(self, inputs_shape):
        if not self.positions.built:
            self.positions.build(inputs_shape)

    def flat_shape(self, inputs_shape):
        shapes = self._flat_shapes(inputs_shape)
        batches = [batch for batch, _, _ in shapes.values()]
        if len({batch for batch in batches if batch is not None}) > 1:
            raise ValueError(
                "`inputs` must have the same batch size in each modality. Received: "
                f"batch sizes {dict(zip(shapes, batches, strict=True))}"
            )
        widths = {name: width for name, (_, _, width) in shapes.items()}
        channels = max(widths.values()) + self.positions.min_padding
        if self.positions.built:
            self._check_widths(widths)
        sizes = [num_inputs for _, num_inputs, _ in shapes.values()]
        batch = None if None in batches else batches[0]
        return batch, None if None in sizes else sum(sizes), channels

    def parts(self, inputs_shape):
        self._check_names("inputs", inputs_shape)
        return [
            part
            for name, reader in self.readers.items()
            for part in reader.parts(inputs_shape[name])
        ]

    def cast(self, inputs, dtype):
        self._check_names("inputs", inputs)
        return {
            name: reader.cast(inputs[name], dtype)
            for name, reader in self.readers.items()
        }

    def hide(self, inputs, mask):
        if mask is None:
            return inputs, None
        self._check_names("inputs_mask", mask, may_miss=True)
        if all(own is None for own in mask.values()):  # So Keras says that it has none.
            return inputs, None
        contents, masks = {}, []
        for name, reader in self.readers.items():
            contents[name], own = reader.hide(inputs[name], mask.get(name))
            batch, *grid, _ = ops.shape(contents[name])
            if own is None:
                own = ops.ones((batch, math.prod(grid)), dtype="bool")
            check_mask(f"inputs_mask[{name!r}]", own, (None, None))
            own = ops.broadcast_to(ops.cast(own, "bool"), (batch, math.prod(grid)))
            masks.append(own)
        return contents, ops.concatenate(masks, axis=1)

    def dense(self, inputs):
        parts = []
        for name, reader in self.readers.items():
            own = reader.dense(inputs[name])
            padding = self._padding(name, own.dtype)
            shape = (*ops.shape(own)[:2], padding.shape[-1])
            padding = ops.broadcast_to(padding[None], shape)
            parts.append(ops.concatenate([own, padding], axis=-1))
        return ops.concatenate(parts, axis=1)

    def byte_array(self, inputs, dtype):
        parts, paddings = [], []
        for name, reader in self.readers.items():
            parts.append(reader.byte_array(inputs[name], dtype))
            padding = self._padding(name, dtype)
            shape = (ops.shape(inputs[name])[0], padding.shape[-1])
            paddings.append(ops.broadcast_to(padding, shape))
        return ConcatenatedByteArray(parts, paddings)

    def _padding(self, name, dtype):
        return ops.cast(self.positions.padding(name), dtype)

    def _flat_shapes(self, inputs_shape):
        self._check_names("inputs", inputs_shape)
        return {
            name: reader.flat_shape(inputs_shape[name])
            for name, reader in self.readers.items()
        }

    def _check_widths(self, widths):
        for name, width in widths.items():
            built_width = self.positions.num_channels - self.positions.padding_width(
                name
            )
            if width != built_width:
                raise ValueError(
                    f"`inputs[{name!r}]` must have {built_width} channels, those of "
                    "the positions included, as when the positions were built. "
                    f"Received: {width} channels"
                )

    def _check_names(self, what, given, may_miss=False):
        names = list(self.readers)
        if not isinstance(given, dict):
            raise ValueError(
                f"`{what}` must be a dict of the modalities {names}, those of "
                f"`positions`. Received: {what}, which is no dict but "
                f"{type(given).__name__}"
            )
        unknown = sorted(set(given) - set(names))
        missing = [] if may_miss else sorted(set(names) - set(given))
        if unknown or missing:
            raise ValueError(
                f"`{what}` must be a dict of the modalities {names}, those of "
                f"`positions`. Received: {what} with unknown {unknown} and missing "
                f"{missing}"
            )


def _shapes_agree(a, b):
    return len(a) == len(b) and all(
        None in (one, other) or one == other for one, other in zip(a, b, strict=True)
    )
