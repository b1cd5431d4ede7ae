"""Text: bytes or tokens, embedded."""

import keras
from keras import ops

from keras_perceiver.inputs.base import TensorAdapter
from keras_perceiver.positions import LearnedPositions
from keras_perceiver.serialization import serializable
from keras_perceiver.validation import check_positive


@serializable
class TextInput(TensorAdapter):
    """Ids of bytes or tokens, each an input: its embedding plus a learned position.

    With a `window` an input is an id among its neighbours: their embeddings are joined,
    so that a single read can tell what bytes spell together. It is to text what
    segments are to sound and patches are to images.

    Id 0 is padding, and is masked. The vocabulary of Perceiver IO is that of the 256
    bytes after six special ids: PAD 0, BOS 1, EOS 2, MASK 3, CLS 4, SEP 5.

    Args:
        shape: sequence (length,); `None` where the length varies from batch to batch.
        vocabulary_size: int. Ids lie in [0, vocabulary_size).
        embedding_dim: int, channels of the embedding of an id.
        max_length: int or `None`. Number of learned positions. Defaults to the length.
        window: odd int. How many ids make an input, the middle one being its own;
            beyond the ends there is padding. Perceiver IO has 1.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: int tensor `(B, length)`.

    Returns:
        Pair of the content, float tensor `(B, length, window * embedding_dim)`, and its
        mask, bool `(B, length)`.

    Raises:
        ValueError: where the ids do not have this shape. Where their length is known
            at run time alone and exceeds `max_length`, the backend raises an error of
            its own.

    References:
    - [Jaegle et al., 2022](https://arxiv.org/abs/2107.14795), section 4.1.
    """

    input_name = "text"
    raw_dtype = "int32"
    kind = "texts"
    axes = ("length",)

    def __init__(
        self,
        shape,
        vocabulary_size=262,
        embedding_dim=768,
        max_length=None,
        window=1,
        **kwargs,
    ):
        check_positive(
            vocabulary_size=vocabulary_size, embedding_dim=embedding_dim, window=window
        )
        if window % 2 == 0:
            raise ValueError(
                "`window` must be odd, with as many neighbours on either side. "
                f"Received: window={window}"
            )
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim
        self.window = window
        super().__init__(shape, positions=None, use_mask=False, **kwargs)
        (length,) = self.shape
        if max_length is None:
            max_length = length
        if max_length is None or (length is not None and length > max_length):
            raise ValueError(
                "`max_length` must be given where the length varies, and be at least "
                f"the length. Received: max_length={max_length}, shape={self.shape}"
            )
        check_positive(max_length=max_length)
        self.max_length = max_length

    def resized(self, shape):
        (length,) = self.checked_shape(shape)
        max_length = max(length or 0, self.max_length)
        config = {**self.get_config(), "shape": shape, "max_length": max_length}
        return type(self).from_config(config)

    @property
    def has_mask(self):
        return True

    def content_shape_of(self, shape):
        return (*shape, self.window * self.embedding_dim)

    def build(self, inputs_shape):
        self.embedding = keras.layers.Embedding(
            self.vocabulary_size,
            self.embedding_dim,
            embeddings_initializer=keras.initializers.TruncatedNormal(stddev=1.0),
            dtype=self.dtype_policy,
            name="embedding",
        )
        self.embedding.build((None, *self.shape))
        self.token_positions = LearnedPositions(
            self.max_length,
            self.window * self.embedding_dim,
            dtype=self.dtype_policy,
            name="token_positions",
        )
        self.token_positions.build()

    def content(self, raw, mask=None, training=None):
        length = ops.shape(raw)[1]
        if isinstance(length, int) and length > self.max_length:
            raise ValueError(
                f"`{self.input_name}` must be at most `max_length` = {self.max_length} "
                f"long. Received: {self.input_name} of shape {tuple(raw.shape)}"
            )
        reach = self.window // 2
        embedded = self.embedding(ops.pad(raw, ((0, 0), (reach, reach))))
        content = ops.concatenate(
            [embedded[:, start : start + length] for start in range(self.window)],
            axis=-1,
        )
        positions = self.token_positions.grid((self.max_length,))[:length]
        # Not a lookup, of which XLA clamps the indices: it fails where there are fewer
        # positions than ids, although their number is known at run time alone.
        return content + ops.reshape(positions, (length, content.shape[-1]))

    def content_mask(self, raw, mask):
        return ops.not_equal(raw, 0)

    def get_config(self):
        config = super().get_config()
        # Positions are added to the content; the mask follows from the ids.
        del config["positions"], config["use_mask"]
        return {
            **config,
            "vocabulary_size": self.vocabulary_size,
            "embedding_dim": self.embedding_dim,
            "max_length": self.max_length,
            "window": self.window,
        }
