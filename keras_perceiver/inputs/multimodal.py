"""Several modalities read at once."""

import keras
from keras import ops

from keras_perceiver.inputs.base import InputAdapter, TensorAdapter
from keras_perceiver.modalities import MultimodalPositions
from keras_perceiver.serialization import serializable
from keras_perceiver.validation import check_rate


@serializable
class MultimodalInput(InputAdapter):
    """Any mix of modalities: their inputs stand one after the other.

    The channels of an input are its content, its positions and a learned padding, the
    encoding of its modality, which brings each modality to the same C.

    A stream that is missing at inference is one whose mask, which adapters with
    `use_mask=True` take, is `False` throughout.

    Args:
        adapters: dict from the name of each modality to its adapter. The model takes a
            dict with an input of each name, and of `f"{name}_mask"` where the adapter
            takes a mask. An adapter belongs to one model, and is renamed after its
            modality.
        min_padding: int. Channels of the encoding of the widest modality.
        modality_dropout: dict from the names of some modalities to floats in [0, 1), or
            `None`. The rates at which training hides a whole modality of an example. An
            example that would lose all its modalities keeps them.
        seed: int or `None`, of the modality dropout.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: dict of what the adapters take.
        training: bool or `None`.

    Returns:
        Dict with the content of each modality; where `has_mask`, a pair of that and a
        dict of masks.

    Raises:
        ValueError: where a modality is missing or unknown.

    Example:

    ```python
    inputs = kp.inputs.MultimodalInput(
        {
            "video": kp.inputs.VideoInput(
                (32, 224, 224, 3),
                kp.FourierPositions(num_bands=16),
                patch_size=(2, 8, 8),
            ),
            "audio": kp.inputs.AudioInput((61440,), kp.FourierPositions(num_bands=64)),
        },
        min_padding=4,
        modality_dropout={"video": 0.3},
    )
    ```

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), section 4.2: an encoding
      of 4 channels for video, and video dropout at a rate of 0.3.
    - `MultimodalPreprocessor` of DeepMind's published code.
    """

    def __init__(
        self,
        adapters,
        min_padding=0,
        modality_dropout=None,
        seed=None,
        **kwargs,
    ):
        kwargs.setdefault("name", "multimodal_adapter")
        super().__init__(**kwargs)
        is_dict = isinstance(adapters, dict) and len(adapters) > 0
        if not is_dict or not all(
            isinstance(name, str) and isinstance(adapter, TensorAdapter)
            for name, adapter in adapters.items()
        ):
            raise ValueError(
                "`adapters` must be a dict from the name of each modality to its "
                f"adapter of `kp.inputs`. Received: adapters={adapters!r}"
            )
        rates = dict(modality_dropout or {})
        unknown = sorted(set(rates) - set(adapters))
        if unknown:
            raise ValueError(
                f"`modality_dropout` must be of modalities among {sorted(adapters)}. "
                f"Received: modality_dropout with unknown {unknown}"
            )
        check_rate(**{f"modality_dropout[{name!r}]": r for name, r in rates.items()})
        self.adapters = {name: adapters[name] for name in sorted(adapters)}
        for name, adapter in self.adapters.items():
            adapter.take_name(name)
        names = [own for a in self.adapters.values() for own in _input_names(a)]
        if len(set(names)) < len(names):
            raise ValueError(
                "`adapters` must give each input of the model a name of its own, those "
                f"of masks included. Received: adapters with the inputs {names}"
            )
        self.min_padding = min_padding
        self.modality_dropout = {n: rate for n, rate in rates.items() if rate > 0}
        self.seed = seed
        if self.modality_dropout:
            self.seed_generator = keras.random.SeedGenerator(seed)
        self.positions = MultimodalPositions(
            {name: a.grid_positions for name, a in self.adapters.items()},
            min_padding=min_padding,
            dtype=self.dtype_policy,
            name="positions",
        )

    @property
    def content_shape(self):
        return {name: a.content_shape for name, a in self.adapters.items()}

    def modalities(self):
        return self.adapters

    def resized(self, shape):
        if not isinstance(shape, dict) or set(shape) != set(self.adapters):
            raise ValueError(
                f"`shape` must be a dict of the modalities {list(self.adapters)}. "
                f"Received: shape={shape}"
            )
        adapters = {
            name: keras.layers.serialize(own.resized(shape[name]))
            for name, own in self.adapters.items()
        }
        return type(self).from_config({**self.get_config(), "adapters": adapters})

    @property
    def flops(self):
        return sum(adapter.flops for adapter in self.adapters.values())

    @property
    def grid_positions(self):
        return self.positions

    @property
    def has_mask(self):
        return bool(self._masked)

    def symbolic_inputs(self):
        found = {}
        for name, adapter in self.adapters.items():
            own = adapter.symbolic_inputs()
            found |= own if isinstance(own, dict) else {name: own}
        return found

    def build(self, inputs_shape):
        for name, own in self._own_inputs(inputs_shape).items():
            if not self.adapters[name].built:
                self.adapters[name].build(own)
        self.positions.build(
            {name: (None, *shape) for name, shape in self.content_shape.items()}
        )

    def call(self, inputs, training=None):
        contents, masks = {}, {}
        for name, own in self._own_inputs(inputs).items():
            contents[name] = self.adapters[name](own, training=training)
            if self.adapters[name].has_mask:
                contents[name], masks[name] = contents[name]
        if not self.has_mask:
            return contents
        kept = self._kept(ops.shape(next(iter(contents.values())))[0], training)
        for name in self.modality_dropout:
            shape = ops.shape(contents[name])[:-1]
            if name not in masks:
                masks[name] = ops.ones(shape, dtype="bool")
            if kept is not None:
                # A mask may be flat where the content lies on a grid.
                rank = len(masks[name].shape)
                own = ops.reshape(kept[name], (-1, *[1] * (rank - 1)))
                masks[name] = ops.logical_and(masks[name], own)
        return contents, masks

    def compute_output_spec(self, inputs, training=None):
        contents, masks = {}, {}
        for name, own in self._own_inputs(inputs).items():
            contents[name] = self.adapters[name].compute_output_spec(own)
            if self.adapters[name].has_mask:
                contents[name], masks[name] = contents[name]
            elif name in self._masked:
                shape = contents[name].shape[:-1]
                masks[name] = keras.KerasTensor(shape, "bool")
        return (contents, masks) if self.has_mask else contents

    @classmethod
    def from_config(cls, config):
        adapters = {
            name: keras.layers.deserialize(adapter)
            for name, adapter in config["adapters"].items()
        }
        return cls(**{**config, "adapters": adapters})

    def get_config(self):
        return {
            **super().get_config(),
            "adapters": {
                name: keras.layers.serialize(adapter)
                for name, adapter in self.adapters.items()
            },
            "min_padding": self.min_padding,
            "modality_dropout": dict(self.modality_dropout),
            "seed": self.seed,
        }

    @property
    def _masked(self):
        """Names of the modalities that come with a mask."""
        return [
            name
            for name, adapter in self.adapters.items()
            if adapter.has_mask or name in self.modality_dropout
        ]

    def _own_inputs(self, inputs):
        """What each adapter takes of the inputs, or of their shapes."""
        names = sorted(n for a in self.adapters.values() for n in _input_names(a))
        if not isinstance(inputs, dict) or sorted(inputs) != names:
            raise ValueError(
                f"`inputs` must be a dict of {names}. Received: "
                f"{sorted(inputs) if isinstance(inputs, dict) else type(inputs)}"
            )
        found = {}
        for name, adapter in self.adapters.items():
            own = {key: inputs[key] for key in _input_names(adapter)}
            found[name] = own if len(own) > 1 else own[name]
        return found

    def _kept(self, batch, training):
        """For each modality with a rate, whether an example keeps it, or `None`."""
        if not training or not self.modality_dropout:
            return None
        kept = {
            name: keras.random.uniform((batch,), seed=self.seed_generator) >= rate
            for name, rate in self.modality_dropout.items()
        }
        if len(kept) == len(self.adapters):
            lost = ops.logical_not(ops.any(ops.stack(list(kept.values())), axis=0))
            kept = {name: ops.logical_or(own, lost) for name, own in kept.items()}
        return kept


def _input_names(adapter):
    names = [adapter.input_name]
    return [*names, adapter.mask_name] if adapter.use_mask else names
