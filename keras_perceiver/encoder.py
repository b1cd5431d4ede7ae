"""The latent array, and how cross-attends and latent blocks take turns."""

import keras
from keras import ops

from keras_perceiver.initializers import array_initializer
from keras_perceiver.recomputation import recomputed
from keras_perceiver.self_attention import SelfAttention
from keras_perceiver.serialization import serializable
from keras_perceiver.validation import check_choice, check_positive

SHARING = ("all", "all_but_first", "none")
PLACEMENTS = ("interleaved", "start")


@serializable
class LatentArray(keras.layers.Layer):
    """The learned array that queries the inputs, the same for every example.

    Args:
        num_latents: int, N.
        latent_dim: int, D.
        initializer: defaults to a truncated normal of standard deviation 0.02.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: tensor `(B, ...)`, asked for nothing but its batch size.

    Returns:
        Tensor `(B, N, D)`.

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), appendix C.
    """

    def __init__(self, num_latents, latent_dim, initializer=None, **kwargs):
        super().__init__(**kwargs)
        check_positive(num_latents=num_latents, latent_dim=latent_dim)
        self.num_latents = num_latents
        self.latent_dim = latent_dim
        self.initializer = (
            keras.initializers.get(initializer) if initializer else array_initializer()
        )

    def build(self, inputs_shape):
        self.latents = self.add_weight(
            shape=(self.num_latents, self.latent_dim),
            initializer=self.initializer,
            name="latents",
        )

    def call(self, inputs):
        latents = ops.cast(self.latents, self.compute_dtype)
        shape = (ops.shape(inputs)[0], self.num_latents, self.latent_dim)
        return ops.broadcast_to(latents[None], shape)

    def compute_output_shape(self, inputs_shape):
        return (inputs_shape[0], self.num_latents, self.latent_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "num_latents": self.num_latents,
            "latent_dim": self.latent_dim,
            "initializer": keras.initializers.serialize(self.initializer),
        }


@serializable
class LatentBlock(keras.layers.Layer):
    """A latent transformer: self-attention layers with weights of their own.

    Args:
        num_layers: int. Number of self-attention layers.
        num_heads, qk_dim, v_dim: as in `kp.layers.SelfAttention`, the same for each
            layer.
        widening_factor, approximate_gelu, kernel_initializer: as there.
        dropout_rate, attention_dropout_rate: as there.
        recompute: bool. Whether training keeps nothing of a layer but its inputs, and
            the backward pass runs it again; the gradients are the same.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: float tensor `(B, N, D)`, the latents.
        mask: optional bool tensor `(B, N)`.
        training: bool or `None`.

    Returns:
        Tensor `(B, N, D)`.
    """

    def __init__(
        self,
        num_layers,
        num_heads=8,
        qk_dim=None,
        v_dim=None,
        widening_factor=1,
        approximate_gelu=True,
        dropout_rate=0.0,
        attention_dropout_rate=0.0,
        kernel_initializer=None,
        recompute=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(num_layers=num_layers)
        self.num_layers = num_layers
        self.recompute = bool(recompute)
        self.supports_masking = True
        self.layers = [
            SelfAttention(
                num_heads=num_heads,
                qk_dim=qk_dim,
                v_dim=v_dim,
                widening_factor=widening_factor,
                approximate_gelu=approximate_gelu,
                dropout_rate=dropout_rate,
                attention_dropout_rate=attention_dropout_rate,
                kernel_initializer=kernel_initializer,
                dtype=self.dtype_policy,
                name=f"{self.name}_layer_{i}",
            )
            for i in range(num_layers)
        ]

    def build(self, inputs_shape):
        for layer in self.layers:
            layer.build(inputs_shape)

    def call(self, inputs, mask=None, training=None):
        for layer in self.layers:
            if self.recompute and training:
                inputs = recomputed(layer, inputs, mask=mask, training=training)
            else:
                inputs = layer(inputs, mask=mask, training=training)
        return inputs

    def compute_output_shape(self, inputs_shape):
        return inputs_shape

    def get_config(self):
        own = super().get_config()
        shared = self.layers[0].get_config()
        return {
            **shared,
            **own,
            "num_layers": self.num_layers,
            "recompute": self.recompute,
        }


def sharing_ids(sharing, count, what):
    """Which set of weights each of `count` repetitions uses.

    Args:
        sharing: `"all"` (one set), `"all_but_first"` (the first has its own, as in
            the published ImageNet model), `"none"`, or the ids themselves, one for
            each repetition, numbered from 0 in the order of their first use.
        count: int. Number of repetitions.
        what: string. The name of the argument, for errors.

    Returns:
        List of `count` ints.

    Raises:
        ValueError: where `sharing` is none of these.
    """
    if isinstance(sharing, str):
        check_choice(SHARING, **{what: sharing})
        if sharing == "all":
            return [0] * count
        if sharing == "none":
            return list(range(count))
        return [min(i, 1) for i in range(count)]
    ids = list(sharing) if isinstance(sharing, (list, tuple)) else []
    first_uses = list(dict.fromkeys(ids))
    if len(ids) == count and first_uses == list(range(len(first_uses))):
        return ids
    raise ValueError(
        f"`{what}` must hold one id for each of the {count} repetitions, numbered "
        f"from 0 in the order of their first use. Received: {what}={sharing}"
    )


def schedule(num_cross_attends, num_latent_blocks, placement="interleaved"):
    """The order of cross-attends and latent blocks.

    Args:
        num_cross_attends: int.
        num_latent_blocks: int.
        placement: `"interleaved"` spreads the cross-attends evenly among the latent
            blocks, the first before all of them; `"start"` puts them all first.

    Returns:
        List of pairs, `("cross_attend", i)` or `("latent_block", j)`.

    Raises:
        ValueError: where interleaving would need more latent blocks.

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), table 6.
    """
    check_positive(
        num_cross_attends=num_cross_attends, num_latent_blocks=num_latent_blocks
    )
    check_choice(PLACEMENTS, placement=placement)
    if placement == "interleaved" and num_cross_attends > num_latent_blocks:
        raise ValueError(
            "`num_cross_attends` must not exceed `num_latent_blocks` where they are "
            f"interleaved. Received: num_cross_attends={num_cross_attends}, "
            f"num_latent_blocks={num_latent_blocks}"
        )
    before = [
        i * num_latent_blocks // num_cross_attends if placement == "interleaved" else 0
        for i in range(num_cross_attends)
    ]
    steps = []
    for j in range(num_latent_blocks):
        steps += [("cross_attend", i) for i, b in enumerate(before) if b == j]
        steps.append(("latent_block", j))
    return steps


def encode(latents, content, cross_attends, latent_blocks, steps, inputs_mask=None):
    """Runs the steps of a schedule; a layer that serves twice shares its weights.

    Args:
        latents: float tensor `(B, N, D)`.
        content: what the cross-attends read, `(B, M, C)` or on its grid, or a dict
            with that of each modality.
        cross_attends: list of `kp.layers.CrossAttention`, one for each cross-attend.
        latent_blocks: list of `LatentBlock`, one for each latent block.
        steps: the result of `schedule`.
        inputs_mask: optional bool tensor `(B, M)`, or a dict likewise.

    Returns:
        The latents after the last step, `(B, N, D)`.
    """
    for kind, i in steps:
        if kind == "cross_attend":
            latents = cross_attends[i](latents, content, inputs_mask=inputs_mask)
        else:
            latents = latent_blocks[i](latents)
    return latents
