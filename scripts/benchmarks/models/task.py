"""What is run: an encoder on an image, or a latent block; built once, for everyone."""

import dataclasses
import functools

import keras
import numpy as np

import keras_perceiver as kp
from keras_perceiver import presets
from keras_perceiver.layers import LatentBlock

# Of cross-attends and of self-attention; each has some of the norms.
BLOCK_LAYERS = (
    *("query_norm", "inputs_norm", "norm", "mlp_norm", "mlp.hidden", "mlp.result"),
    *(f"attention.{name}" for name in ("query", "key", "value", "attention_output")),
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes of all models; the defaults are those of the papers' ImageNet models.

    Attributes:
        image_size: int, height and width; M is its square.
        latents: int, N.
        latent_dim: int, D.
        bands: int, bands of the positions.
        heads: int, heads of the latent blocks.
        iterations: int. How many times the latent block is run.
        layers: int. Self-attention layers of the latent block.
    """

    image_size: int = 224
    latents: int = 512
    latent_dim: int = 1024
    bands: int = 64
    heads: int = 8
    iterations: int = 8
    layers: int = 6


class Task:
    """A model of ours with its weights, from which every implementation is built.

    Attributes:
        setting: `Setting`.
        model: a model or layer of this package.
        inputs: float32 array, what `model` is called with.
        approximate_gelu: bool.
    """

    def __init__(self, setting, model, inputs, approximate_gelu):
        self.setting = setting
        self.model = model
        self.inputs = inputs
        self.approximate_gelu = approximate_gelu
        rng = np.random.default_rng(1)
        for weight in model.trainable_weights:
            # Biases and norms that do nothing would hide where one is forgotten.
            if len(weight.shape) == 1:
                noise = rng.standard_normal(weight.shape, dtype="float32")
                weight.assign_add(np.float32(0.1) * noise)

    @functools.cached_property
    def weights(self):
        """dict path in our model -> float32 array, of dense layers and norms."""
        return {
            f"{block_path}.{path}.{name}": keras.ops.convert_to_numpy(weight)
            for block_path, block in self._blocks()
            for path in BLOCK_LAYERS
            for name, weight in weights_of(block, path)
        }


class EncoderTask(Task):
    """An encoder that reads one image.

    Args:
        setting: `Setting`.
        cross_attends: int. How many times the latents read the image; where it is
            more than once, the first time has weights of its own.
        approximate_gelu: bool.
    """

    def __init__(self, setting, cross_attends, approximate_gelu):
        size = setting.image_size
        config = presets.backbone_config("perceiver_imagenet", load_weights=False)
        config |= {
            "inputs": kp.inputs.ImageInput(
                (size, size, 3),
                kp.FourierPositions(setting.bands, max_resolution=(size, size)),
            ),
            "num_latents": setting.latents,
            "latent_dim": setting.latent_dim,
            "num_cross_attends": cross_attends,
            "num_latent_blocks": setting.iterations,
            "num_layers_per_block": setting.layers,
            "num_self_heads": setting.heads,
            "approximate_gelu": approximate_gelu,
        }
        image = np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3))
        super().__init__(
            setting,
            kp.PerceiverBackbone(**config),
            image.astype("float32"),
            approximate_gelu,
        )
        self.cross_attends = cross_attends

    @property
    def latents(self):
        """The latent array, `(N, D)`."""
        return keras.ops.convert_to_numpy(self.model.latent_array.latents)

    @functools.cached_property
    def byte_array(self):
        """Content and positions, `(1, M, C)`: what the other packages read."""
        return keras.ops.convert_to_numpy(
            self.model.cross_attends[0].dense(self.inputs)
        )

    def _blocks(self):
        for i, block in enumerate(self.model.cross_attends):
            yield f"cross_attends.{i}", block
        for i, latent_block in enumerate(self.model.latent_blocks):
            for j, block in enumerate(latent_block.layers):
                yield f"latent_blocks.{i}.layers.{j}", block


class LatentBlockTask(Task):
    """A latent block, run once."""

    def __init__(self, setting):
        shape = (1, setting.latents, setting.latent_dim)
        block = LatentBlock(setting.layers, num_heads=setting.heads)
        block.build(shape)
        latents = np.random.default_rng(0).standard_normal(shape, dtype="float32")
        super().__init__(setting, block, latents, approximate_gelu=True)

    def _blocks(self):
        for i, block in enumerate(self.model.layers):
            yield f"layers.{i}", block


def weights_of(block, path):
    """Pairs (name, variable) of a layer of a block; none where it has no such layer."""
    try:
        layer = functools.reduce(getattr, path.split("."), block)
    except AttributeError:
        return
    is_norm = isinstance(layer, keras.layers.LayerNormalization)
    for name in ("gamma", "beta") if is_norm else ("kernel", "bias"):
        yield name, getattr(layer, name)
