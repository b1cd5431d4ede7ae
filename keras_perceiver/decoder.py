"""How the latents answer: their average, or learned queries that read them."""

import keras
from keras import ops

from keras_perceiver.blocks import norm
from keras_perceiver.cross_attention import CrossAttention
from keras_perceiver.positions import LearnedPositions
from keras_perceiver.serialization import serializable
from keras_perceiver.validation import check_positive


@serializable
class AverageDecoder(keras.layers.Layer):
    """The mean over the latents, as the original Perceiver classifies.

    Args:
        use_norm: bool. Whether to normalise the latents first; the papers do not.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        latents: float tensor `(B, N, D)`.

    Returns:
        Tensor `(B, D)`.

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), appendix C.
    """

    def __init__(self, use_norm=False, **kwargs):
        super().__init__(**kwargs)
        self.use_norm = use_norm

    def build(self, latents_shape):
        if self.use_norm:
            self.norm = norm(latents_shape, dtype=self.dtype_policy, name="norm")

    def call(self, latents):
        if self.use_norm:
            latents = self.norm(latents)
        return ops.mean(latents, axis=1)

    def compute_output_shape(self, latents_shape):
        return (latents_shape[0], latents_shape[-1])

    def get_config(self):
        return {**super().get_config(), "use_norm": self.use_norm}


@serializable
class QueryDecoder(keras.layers.Layer):
    """Learned queries that read the latents through one cross-attention.

    Args:
        num_queries: int, O.
        query_dim: int or `None`. Width of a query. Defaults to D.
        num_heads, qk_dim, v_dim: as in `kp.layers.CrossAttention`.
        widening_factor, use_query_residual, approximate_gelu: as there.
        dropout_rate, attention_dropout_rate: as there.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        latents: float tensor `(B, N, D)`.
        queries_mask: optional bool tensor `(B, O)`; a query at `False` reads nothing.
        training: bool or `None`.

    Returns:
        Tensor `(B, O, query_dim)`.

    References:
    - [Jaegle et al., 2022](https://arxiv.org/abs/2107.14795), section 3.2.
    - `BasicDecoder` of DeepMind's published code, with trainable positions.
    """

    def __init__(
        self,
        num_queries=1,
        query_dim=None,
        num_heads=1,
        qk_dim="inputs",
        v_dim=None,
        widening_factor=1,
        use_query_residual=True,
        approximate_gelu=True,
        dropout_rate=0.0,
        attention_dropout_rate=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(num_queries=num_queries)
        if query_dim is not None:
            check_positive(query_dim=query_dim)
        self.num_queries = num_queries
        self.query_dim = query_dim
        self.cross_attention = CrossAttention(
            num_heads=num_heads,
            qk_dim=qk_dim,
            v_dim=v_dim,
            widening_factor=widening_factor,
            use_query_residual=use_query_residual,
            approximate_gelu=approximate_gelu,
            dropout_rate=dropout_rate,
            attention_dropout_rate=attention_dropout_rate,
            dtype=self.dtype_policy,
            name="decoder_cross_attend",
        )
        self.cross_attention.record_kind = "decoder"

    def build(self, latents_shape):
        query_dim = self.query_dim or latents_shape[-1]
        self.queries = LearnedPositions(
            self.num_queries, query_dim, dtype=self.dtype_policy, name="queries"
        )
        self.queries.build()
        self.cross_attention.build(
            (latents_shape[0], self.num_queries, query_dim), latents_shape
        )

    def call(self, latents, queries_mask=None, training=None):
        queries = self.queries.grid((self.num_queries,))
        shape = (ops.shape(latents)[0], *queries.shape)
        return self.cross_attention(
            ops.broadcast_to(queries[None], shape),
            latents,
            queries_mask=queries_mask,
            training=training,
        )

    def compute_output_shape(self, latents_shape):
        query_dim = self.query_dim or latents_shape[-1]
        return (latents_shape[0], self.num_queries, query_dim)

    def get_config(self):
        attention = self.cross_attention.get_config()
        return {
            **super().get_config(),
            "num_queries": self.num_queries,
            "query_dim": self.query_dim,
            **{
                name: attention[name]
                for name in (
                    "num_heads",
                    "qk_dim",
                    "v_dim",
                    "widening_factor",
                    "use_query_residual",
                    "approximate_gelu",
                    "dropout_rate",
                    "attention_dropout_rate",
                )
            },
        }
