"""What is trained: a preset, a batch, and the weights that all begin with."""

import functools

import keras
import numpy as np

import keras_perceiver as kp
from benchmarks.models.task import BLOCK_LAYERS, weights_of
from keras_perceiver import presets
from keras_perceiver.encoder import schedule, sharing_ids

SMALL = tuple(name for name in presets.PRESETS if name.endswith("_small"))
LARGE = "perceiver_imagenet"


class Task:
    """A batch of random inputs and classes for a preset.

    Args:
        preset: string.
        batch_size: int, B.
        same_weights: bool. `False` spares the memory of the model that the others get
            their weights and their byte array from: weights are each one's own, and the
            byte array is random.

    Attributes:
        config: dict of the arguments of the backbone.
        num_classes: int, E.
        adapter: that of the preset.
        inputs: float32 array `(B, ...)`, or a dict of them.
        labels: int64 array `(B,)`.
        steps: list of pairs, `("cross_attend", i)` or `("latent_block", j)`, with the
            number of their weights.
    """

    def __init__(self, preset, batch_size, same_weights=True):
        self.config = presets.backbone_config(preset, load_weights=False)
        self.num_classes = presets.PRESETS[preset]["num_classes"]
        self.adapter = keras.layers.deserialize(self.config["inputs"])
        self.batch_size = batch_size
        self.same_weights = same_weights
        rng = np.random.default_rng(0)
        self.inputs = keras.tree.map_structure(
            lambda x: rng.uniform(-1, 1, (batch_size, *x.shape[1:])).astype("float32"),
            self.adapter.symbolic_inputs(),
        )
        self.labels = rng.integers(0, self.num_classes, batch_size)
        config, self.steps, self.num_weights = self.config, [], {}
        ids = {}
        for kind in ("cross_attend", "latent_block"):
            sharing, count = config[f"{kind}_sharing"], config[f"num_{kind}s"]
            ids[kind] = sharing_ids(sharing, count, f"{kind}_sharing")
            self.num_weights[kind] = max(ids[kind]) + 1
        for kind, i in schedule(config["num_cross_attends"], len(ids["latent_block"])):
            self.steps.append((kind, ids[kind][i]))

    def new_model(self, **overrides):
        """Our classifier, with the weights of the task where there are such."""
        config = {**self.config, **overrides}
        backbone = kp.PerceiverBackbone.from_config(config)
        model = kp.PerceiverClassifier(backbone, self.num_classes)
        if self.same_weights:
            weights = zip(model.weights, self.model.weights, strict=True)
            for own, given in weights:
                own.assign(given)
        return model

    @functools.cached_property
    def model(self):
        """The classifier that has the weights."""
        backbone = kp.PerceiverBackbone.from_config(self.config)
        model = kp.PerceiverClassifier(backbone, self.num_classes)
        rng = np.random.default_rng(1)
        for weight in model.trainable_weights:
            # Biases and norms that do nothing would hide where one is forgotten.
            if len(weight.shape) == 1:
                noise = rng.standard_normal(weight.shape, dtype="float32")
                weight.assign_add(np.float32(0.1) * noise)
        return model

    @functools.cached_property
    def byte_array(self):
        """Content and positions, `(B, M, C)`: what PyTorch reads."""
        if not self.same_weights:
            shape = (self.batch_size, self.adapter.num_inputs, self.adapter.channels)
            return np.random.default_rng(2).standard_normal(shape, dtype="float32")
        backbone = self.model.backbone
        content = backbone.adapter(self.inputs)
        if backbone.adapter.has_mask:
            content, _ = content  # Which hides nothing but in training.
        return keras.ops.convert_to_numpy(backbone.cross_attends[0].dense(content))

    @functools.cached_property
    def weights(self):
        """dict path in our model -> float32 array, of the blocks' layers and norms."""
        backbone = self.model.backbone
        blocks = {f"cross_attends.{i}": x for i, x in enumerate(backbone.cross_attends)}
        for i, latent_block in enumerate(backbone.latent_blocks):
            for j, layer in enumerate(latent_block.layers):
                blocks[f"latent_blocks.{i}.layers.{j}"] = layer
        return {
            f"{prefix}.{path}.{name}": keras.ops.convert_to_numpy(weight)
            for prefix, block in blocks.items()
            for path in BLOCK_LAYERS
            for name, weight in weights_of(block, path)
        }
