"""Published weights to our variables, by name."""

import keras
import numpy as np

from keras_perceiver.attention import Attention
from keras_perceiver.blocks import MLP
from keras_perceiver.cross_attention import CrossAttention
from keras_perceiver.decoder import QueryDecoder
from keras_perceiver.encoder import LatentArray, LatentBlock
from keras_perceiver.inputs import ConvImageInput, GridInput, TextInput
from keras_perceiver.modalities import MultimodalPositions
from keras_perceiver.positions import LearnedPositions
from keras_perceiver.self_attention import SelfAttention

# Our attribute -> the Haiku module below the layer's own path. Haiku numbers modules
# of one kind in the order in which they were made.
_MODULES = {
    CrossAttention: {
        "query_norm": "layer_norm",
        "inputs_norm": "layer_norm_1",
        "attention": "attention",
        "mlp_norm": "layer_norm_2",
        "mlp": "mlp",
    },
    SelfAttention: {
        "norm": "layer_norm",
        "attention": "attention",
        "mlp_norm": "layer_norm_1",
        "mlp": "mlp",
    },
    Attention: {
        "query": "linear",
        "key": "linear_1",
        "value": "linear_2",
        "attention_output": "linear_3",
    },
    MLP: {"hidden": "linear", "result": "linear_1"},
    TextInput: {
        "embedding": "embed",
        "token_positions": "trainable_position_encoding",
    },
    QueryDecoder: {
        "queries": "~/trainable_position_encoding",
        "cross_attention": "cross_attention",
    },
}
# Our variable -> the Haiku parameter of the same module.
_PARAMETERS = {
    keras.layers.Dense: {"kernel": "w", "bias": "b"},
    keras.layers.LayerNormalization: {"gamma": "scale", "beta": "offset"},
    keras.layers.Embedding: {"embeddings": "embeddings"},
    LatentArray: {"latents": "pos_embs"},
    LearnedPositions: {"embeddings": "pos_embs"},
}


def haiku_variables(layer, path):
    """The variables of a layer under the names of DeepMind's published code.

    Args:
        layer: a built layer of this package, or one of its sublayers.
        path: string. The path of the corresponding Haiku module; for a
            `LatentBlock` that of the module which holds its self-attends, and for a
            `TextInput` that of the model.

    Returns:
        dict `"module|parameter"` -> `keras.Variable`.

    Raises:
        ValueError: where the layer has no counterpart there.
    """
    if isinstance(layer, LatentBlock):
        found = {}
        for i, self_attention in enumerate(layer.layers):
            suffix = f"_{i}" if i else ""
            module = f"{path}/self_attention{suffix}"
            found |= haiku_variables(self_attention, module)
        return found
    if isinstance(layer, MultimodalPositions):
        found = {}
        for name, padding in layer.paddings.items():
            found |= haiku_variables(padding, f"{path}/{name}_padding")
        return found
    if isinstance(layer, (ConvImageInput, GridInput)):
        return _image_preprocessor(layer, path)
    kind = type(layer)
    if kind in _PARAMETERS:
        return {
            f"{path}|{parameter}": getattr(layer, attribute)
            for attribute, parameter in _PARAMETERS[kind].items()
        }
    if kind in _MODULES:
        found = {}
        for attribute, module in _MODULES[kind].items():
            found |= haiku_variables(getattr(layer, attribute), f"{path}/{module}")
        return found
    raise ValueError(
        "`layer` must be of a kind that DeepMind's code has too. "
        f"Received: layer={layer!r}"
    )


def _image_preprocessor(adapter, path):
    """The variables of an adapter of images or video, and of its learned positions."""
    found = {}
    if isinstance(adapter, ConvImageInput):
        module = f"{path}/~/conv2_d_downsample/~"
        norm = f"{module}/batchnorm"
        found |= {
            f"{module}/conv|w": adapter.convolution.kernel,
            f"{norm}|scale": adapter.norm.gamma,
            f"{norm}|offset": adapter.norm.beta,
            f"{norm}/~/mean_ema|average": adapter.norm.moving_mean,
            f"{norm}/~/var_ema|average": adapter.norm.moving_variance,
        }
    elif adapter.projection_dim:
        module = "~/conv2_d" if adapter.patch_size is None else "patches_linear"
        found |= haiku_variables(adapter.projection, f"{path}/{module}")
    positions = adapter.positions
    if isinstance(positions, LearnedPositions):
        module = f"{path}/~_build_network_inputs"
        found |= haiku_variables(positions, f"{module}/trainable_position_encoding")
        if positions.projection_dim:
            found |= haiku_variables(
                positions.projection, f"{module}/position_encoding_projector/linear"
            )
    return found


def assign(variables, weights):
    """Loads weights by name; every weight is used and every variable set, or none.

    Args:
        variables: dict name -> `keras.Variable`.
        weights: dict name -> array, of the same names and shapes; kernels of 1 x 1
            convolutions and parameters of normalizations may begin with axes of size 1.

    Raises:
        ValueError: where a name or a shape has no counterpart.
    """
    missing = sorted(set(variables) - set(weights))
    unused = sorted(set(weights) - set(variables))
    if missing or unused:
        raise ValueError(
            "`weights` must have the names of the variables. Received: weights "
            f"without {missing[:4]} ({len(missing)} in all), and with unknown "
            f"{unused[:4]} ({len(unused)} in all)"
        )
    for name, variable in variables.items():
        shape = np.shape(weights[name])
        excess = max(0, len(shape) - len(variable.shape))
        if shape[:excess] != (1,) * excess or shape[excess:] != tuple(variable.shape):
            raise ValueError(
                f"`weights[{name!r}]` must have the shape {tuple(variable.shape)}. "
                f"Received: an array of shape {shape}"
            )
    for name, variable in variables.items():
        variable.assign(np.reshape(weights[name], variable.shape))
