"""A Perceiver that names what it reads."""

import os

import keras
import keras_hub

from keras_perceiver import presets as presets_lib
from keras_perceiver.decoder import AverageDecoder
from keras_perceiver.initializers import FanInTruncatedNormal
from keras_perceiver.models.backbone import PerceiverBackbone
from keras_perceiver.serialization import serializable
from keras_perceiver.validation import check_positive


@serializable
class PerceiverClassifier(keras_hub.models.Task):
    """Latents, a decoder, and one linear layer to class logits.

    Args:
        backbone: `kp.PerceiverBackbone`.
        num_classes: int, E.
        decoder: layer from latents `(B, N, D)` to `(B, E')` or `(B, 1, E')`.
            Defaults to `kp.layers.AverageDecoder`, the mean over the latents;
            `kp.layers.QueryDecoder` is that of Perceiver IO.
        preprocessor: `None`, a `keras_hub.models.Preprocessor` or a callable.
        activation: activation of the last layer. Defaults to none: logits.
        logits_initializer: defaults to a truncated normal over the fan-in.
        **kwargs: `keras.Model` arguments.

    Call arguments:
        inputs: as `kp.PerceiverBackbone`.

    Returns:
        Logits, float32 tensor `(B, E)`.

    Example:

    ```python
    classifier = kp.PerceiverClassifier.from_preset(
        "perceiver_imagenet", load_weights=False, num_classes=1000
    )
    ```

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), appendix C.
    """

    backbone_cls = PerceiverBackbone
    preprocessor_cls = None
    presets = PerceiverBackbone.presets

    def __init__(
        self,
        backbone,
        num_classes,
        decoder=None,
        preprocessor=None,
        activation=None,
        logits_initializer=None,
        **kwargs,
    ):
        check_positive(num_classes=num_classes)
        compute_dtype = kwargs.pop("dtype", None) or backbone.dtype_policy

        # === Layers ===
        decoder = decoder or AverageDecoder(dtype=compute_dtype, name="decoder")
        initializer = keras.initializers.get(logits_initializer)
        initializer = initializer or FanInTruncatedNormal()
        logits = keras.layers.Dense(
            num_classes,
            activation=activation,
            kernel_initializer=initializer,
            dtype="float64" if backbone.compute_dtype == "float64" else "float32",
            name="logits",
        )

        # === Functional model ===
        x = decoder(backbone.output)
        if len(x.shape) == 3:
            if x.shape[1] != 1:
                raise ValueError(
                    "`decoder` must give one answer for each example, so a "
                    "`QueryDecoder` needs num_queries=1. Received: a decoder with "
                    f"outputs of shape {x.shape}"
                )
            x = keras.layers.Flatten(dtype=compute_dtype, name="flatten")(x)
        # KerasHub's Task compiles itself while it is constructed, so what that needs
        # comes first.
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.activation = logits.activation
        super().__init__(inputs=backbone.input, outputs=logits(x), **kwargs)

        # === Config ===
        self.decoder = decoder
        self.output_layer = logits
        self.num_classes = num_classes
        self.logits_initializer = initializer

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "decoder": keras.layers.serialize(self.decoder),
            "activation": keras.activations.serialize(self.activation),
            "logits_initializer": keras.initializers.serialize(self.logits_initializer),
        }

    @classmethod
    def from_config(cls, config):
        if isinstance(config.get("decoder"), dict):
            config = {**config, "decoder": keras.layers.deserialize(config["decoder"])}
        return super().from_config(config)

    def compile(self, optimizer="auto", loss="auto", *, metrics="auto", **kwargs):
        """As `keras.Model.compile`, with defaults for integer labels.

        Args:
            optimizer: `"auto"` is LAMB at a learning rate of 1e-3.
            loss: `"auto"` is sparse categorical cross-entropy of the outputs.
            metrics: `"auto"` is accuracy.
            **kwargs: further arguments of `keras.Model.compile`.
        """
        if optimizer == "auto":
            optimizer = keras.optimizers.Lamb(1e-3)
        if loss == "auto":
            from_logits = self.activation == keras.activations.linear
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
        if metrics == "auto":
            metrics = ["accuracy"]
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def fit(self, x=None, y=None, **kwargs):
        """As `keras.Model.fit`; arrays are shuffled, data sets come as they are.

        Args:
            x: arrays, or a data set of pairs (inputs, labels).
            y: labels where `x` is arrays.
            **kwargs: further arguments of `keras.Model.fit`.

        Returns:
            `keras.callbacks.History`.
        """
        kwargs.setdefault("shuffle", y is not None)
        if self.preprocessor is not None:
            return super().fit(x, y, **kwargs)
        # KerasHub's `fit` makes a data set of arrays, which nobody shuffles.
        return keras.Model.fit(self, x, y, **kwargs)

    def compile_from_config(self, config):
        """Compiles a loaded model as it was when saved; Keras calls this."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    # A preset holds the model; the state of an optimizer belongs to a checkpoint.
    def save_task_weights(self, filepath):
        """Saves what the backbone does not hold, without the optimizer.

        Args:
            filepath: path that ends in `.weights.h5`.
        """
        keras.saving.save_weights(
            self, filepath, objects_to_skip=self._not_of_the_task()
        )

    def load_task_weights(self, filepath):
        """Loads what `save_task_weights` saved.

        Args:
            filepath: path that ends in `.weights.h5`.
        """
        keras.saving.load_weights(
            self, filepath, objects_to_skip=self._not_of_the_task()
        )

    def _not_of_the_task(self):
        layers = list(self.backbone._flatten_layers())
        return [*layers, self.optimizer] if self.compiled else layers

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """Builds a preset of this package, or loads a preset folder or handle.

        Args:
            preset: string. A key of `presets`, the path of a folder written by
                `save_to_preset`, or a handle such as `"hf://user/model"`.
            load_weights: bool. Whether to load weights too.
            **kwargs: arguments of the constructor; `num_classes` of a saved
                classifier gives it a new last layer.

        Raises:
            ValueError: where the preset is unknown, or weights are asked for that
                nobody has published.
        """
        if presets_lib.is_preset(preset):
            dtype = kwargs.pop("dtype", None)
            backbone = PerceiverBackbone.from_preset(
                preset, load_weights=load_weights, dtype=dtype
            )
            return cls(backbone=backbone, **kwargs)
        presets_lib.check_source(os.fspath(preset))
        return super().from_preset(os.fspath(preset), load_weights, **kwargs)
