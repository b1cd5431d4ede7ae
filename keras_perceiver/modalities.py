"""Where the inputs of several modalities are, and which modality each is of."""

import keras
from keras import ops

from keras_perceiver.initializers import array_initializer, fresh
from keras_perceiver.positions import FourierPositions, LearnedPositions
from keras_perceiver.serialization import serializable, serialize_shared
from keras_perceiver.validation import check_not_negative


@serializable
class MultimodalPositions(keras.layers.Layer):
    """Where the inputs of several modalities are, and which modality each is of.

    The channels of an input are its content, its positions, and a padding: a learned
    vector that all inputs of its modality have in common, the modality encoding, which
    brings each modality to the same C. Modalities stand in the order of their names.

    Args:
        positions: dict from the name of each modality to its `kp.FourierPositions`,
            `kp.LearnedPositions` or `None`, where the content `(B, M_i, C_i)` is all.
        min_padding: int. The padding of the widest modality: C is the width of that
            one and this.
        initializer: that of the paddings. Defaults to a truncated normal of standard
            deviation 0.02.
        **kwargs: `keras.layers.Layer` arguments.

    Raises:
        ValueError: where a modality has no such positions.

    Example:

    ```python
    positions = kp.MultimodalPositions(
        {
            "audio": kp.FourierPositions(num_bands=192, max_resolution=1920),
            "video": kp.FourierPositions(num_bands=16, max_resolution=(16, 28, 28)),
        },
        min_padding=4,
    )
    layer = kp.layers.CrossAttention(positions=positions)
    audio, video = np.zeros((2, 480, 128)), np.zeros((2, 16, 28, 28, 384))
    layer(latents, {"audio": audio, "video": video}).shape  # that of the latents
    ```

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), section 4.2: an encoding
      of 4 channels for video, and as many as needed for audio.
    - `MultimodalPreprocessor` of DeepMind's published code.
    """

    def __init__(self, positions, min_padding=0, initializer=None, **kwargs):
        super().__init__(**kwargs)
        is_dict = isinstance(positions, dict) and len(positions) > 0
        if not is_dict or not all(
            isinstance(name, str)
            and (own is None or isinstance(own, (FourierPositions, LearnedPositions)))
            for name, own in positions.items()
        ):
            raise ValueError(
                "`positions` of several modalities must be a dict from the name of each"
                " to `kp.FourierPositions`, `kp.LearnedPositions` or `None`. "
                f"Received: positions={positions!r}"
            )
        learned = [p for p in positions.values() if isinstance(p, LearnedPositions)]
        if len({id(own) for own in learned}) < len(learned):
            raise ValueError(
                "Each modality must have `kp.LearnedPositions` of its own; a saved "
                "model does not know that two of them are one. "
                f"Received: positions={positions!r}"
            )
        check_not_negative(min_padding=min_padding)
        self.positions = {name: positions[name] for name in sorted(positions)}
        self.min_padding = min_padding
        self.initializer = (
            keras.initializers.get(initializer) if initializer else array_initializer()
        )

    def build(self, inputs_shape):
        """Makes the paddings.

        Args:
            inputs_shape: dict from the names to the shapes of content, batch first.
        """
        widths = {}
        for name, own in self.positions.items():
            grid = tuple(inputs_shape[name])[1:-1]
            widths[name] = inputs_shape[name][-1]
            if own is not None:
                widths[name] += own.channels(grid)
                if not own.built:
                    own.build()
        self.num_channels = max(widths.values()) + self.min_padding
        # The widest modality may need none.
        self.paddings = {
            name: LearnedPositions(
                1,
                self.num_channels - width,
                initializer=fresh(self.initializer),
                dtype=self.dtype_policy,
                name=f"{name}_padding",
            )
            for name, width in widths.items()
            if self.num_channels > width
        }
        for padding in self.paddings.values():
            padding.build()

    def padding_width(self, name):
        """The channels of a modality's padding, which may be 0."""
        return self.paddings[name].dim if name in self.paddings else 0

    def padding(self, name):
        """The padding of a modality, `(1, C - C_i)`."""
        if name in self.paddings:
            return self.paddings[name].grid((1,))
        return ops.zeros((1, 0), dtype=self.compute_dtype)

    @classmethod
    def from_config(cls, config):
        positions = {
            name: None if own is None else keras.layers.deserialize(own)
            for name, own in config["positions"].items()
        }
        initializer = keras.initializers.deserialize(config["initializer"])
        return cls(**{**config, "positions": positions, "initializer": initializer})

    def get_config(self):
        return {
            **super().get_config(),
            "positions": {
                name: serialize_shared(own) for name, own in self.positions.items()
            },
            "min_padding": self.min_padding,
            "initializer": keras.initializers.serialize(self.initializer),
        }
