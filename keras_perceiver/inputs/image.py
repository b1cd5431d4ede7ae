"""Images: pixels, patches, what a small convolution makes of them, pixels permuted."""

import math

import keras
import numpy as np
from keras import ops

from keras_perceiver.initializers import FanInTruncatedNormal
from keras_perceiver.inputs.base import TensorAdapter
from keras_perceiver.inputs.grid import GridInput
from keras_perceiver.inputs.patches import patch_grid
from keras_perceiver.positions import FourierPositions
from keras_perceiver.serialization import serializable
from keras_perceiver.validation import check_positive


@serializable
class ImageInput(GridInput):
    """Pixels of an image, each an input of its own, or patches of pixels.

    The papers' models of ImageNet are `ImageInput((224, 224, 3), positions)` with
    Fourier positions of 64 bands, and `projection_dim=256` with
    `kp.LearnedPositions((224, 224), 256, projection_dim=256)`.

    Args:
        shape: sequence (height, width, channels). Height and width may be `None`
            where images of any size come; the positions must then be Fourier.
        positions: `kp.FourierPositions` or `kp.LearnedPositions` of the grid.
        patch_size: int, pair of ints or `None`. Pixels of a patch along each axis; a
            patch is one input, its channels in the order (dh, dw, c).
        projection_dim: int or `None`. Width to which a linear layer takes each pixel
            or patch.
        use_mask: bool. Whether the model also takes `"image_mask"`, bool
            `(B, height, width)`, an entry for each input, `True` = attend.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: float tensor `(B, height, width, channels)`; the models of the paper
            are fed values within [-1, 1]. With a mask, a dict with `"image_mask"`, too.

    Returns:
        Content on its grid in the compute dtype, and the mask where there is one.

    Raises:
        ValueError: where an image does not have this shape.

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), section 4.1.
    - [Jaegle et al., 2022](https://arxiv.org/abs/2107.14795), appendix H.
    """

    input_name = "image"
    kind = "images"
    axes = ("height", "width", "channels")


@serializable
class ConvImageInput(TensorAdapter):
    """Features of an image from one convolution, at a quarter of its size.

    7 x 7 convolution of stride 2 without bias, batch normalization, ReLU, 3 x 3 maximum
    of stride 2; all padded as TensorFlow's "SAME".

    Args:
        shape: sequence (height, width, channels), as in `kp.inputs.ImageInput`.
        positions: `kp.FourierPositions` or `kp.LearnedPositions` of the grid of
            features, `(height / 4, width / 4)`.
        num_features: int. Channels of the features.
        use_mask: bool. Whether the model also takes `"image_mask"`, bool
            `(B, height / 4, width / 4)`, an entry for each input, `True` = attend. It
            is one of features, which overlap, and hides no pixels: the convolution
            and the normalization by the batch see them all, so that they must be
            finite everywhere. Zeros do for images that are not there.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: float tensor `(B, height, width, channels)`; with a mask, a dict with
            `"image_mask"`, too.
        training: bool or `None`. Whether to normalise by the batch.

    Returns:
        Features on their grid, and the mask where there is one.

    References:
    - [Jaegle et al., 2022](https://arxiv.org/abs/2107.14795), appendix A.1.
    - `Conv2DDownsample` of DeepMind's published code.
    """

    input_name = "image"
    kind = "images"
    axes = ("height", "width", "channels")

    def __init__(self, shape, positions, num_features=64, use_mask=False, **kwargs):
        check_positive(num_features=num_features)
        self.num_features = num_features  # The shape of the content depends on it.
        super().__init__(shape, positions, use_mask=use_mask, **kwargs)

    def content_shape_of(self, shape):
        return (*patch_grid(patch_grid(shape[:2], (2, 2)), (2, 2)), self.num_features)

    @property
    def flops(self):
        *size, channels = self.shape
        outputs = math.prod(patch_grid(size, (2, 2))) * self.num_features
        return super().flops + 2 * outputs * 7 * 7 * channels

    def build(self, inputs_shape):
        super().build(inputs_shape)
        policy = self.dtype_policy
        self.convolution = keras.layers.Conv2D(
            self.num_features,
            7,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer=FanInTruncatedNormal(),
            dtype=policy,
            name="convolution",
        )
        self.convolution.build((None, *self.shape))
        self.norm = keras.layers.BatchNormalization(
            momentum=0.9, epsilon=1e-5, dtype=policy, name="norm"
        )
        self.norm.build((None, None, None, self.num_features))

    def content(self, raw, mask=None, training=None):
        features = ops.relu(self.norm(self.convolution(raw), training=training))
        return ops.max_pool(features, 3, strides=2, padding="same")

    def get_config(self):
        return {**super().get_config(), "num_features": self.num_features}


@serializable
class PermutedImageInput(TensorAdapter):
    """Pixels in a fixed random order, the same for every image.

    Fourier positions travel with their pixels, so that the model sees the same set of
    inputs as without the permutation; learned positions stay in place, and a model can
    learn the image's structure from data alone. The experiment of the paper on what is
    built into a model.

    Args:
        shape: sequence (height, width, channels), all known.
        positions: `kp.FourierPositions` or `kp.LearnedPositions` of the grid.
        seed: int. Which permutation.
        use_mask: bool. Whether the model also takes `"image_mask"`, bool
            `(B, height, width)`, of the image before the permutation, `True` = attend.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: float tensor `(B, height, width, channels)`; with a mask, a dict with
            `"image_mask"`, too.

    Attributes:
        order: int array `(M,)`. Which pixel of the image, row by row, each input is.

    Returns:
        Permuted pixels beside their Fourier features, `(B, M, C)`, or on the grid of
        learned positions; and the permuted mask where there is one.

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), section 4.1, permuted
      ImageNet.
    """

    input_name = "image"
    kind = "images"
    axes = ("height", "width", "channels")

    def __init__(self, shape, positions, seed=0, use_mask=False, **kwargs):
        shape = self.checked_shape(shape)
        if None in shape:
            raise ValueError(
                "`shape` of permuted images must be known, as a permutation is one of "
                f"known pixels. Received: shape={shape}"
            )
        self.seed = seed
        super().__init__(shape, positions, use_mask=use_mask, **kwargs)
        self.order = np.random.default_rng(seed).permutation(math.prod(shape[:2]))

    @property
    def grid_positions(self):
        return None if self._positions_travel else self.positions

    def lay_out(self, values, shape):
        in_place = values[..., np.argsort(self.order)]
        return in_place.reshape(*values.shape[:-1], *shape[:2])

    def resized(self, shape):
        if not self._positions_travel:
            raise ValueError(
                "Learned positions of permuted pixels know no neighbours to "
                "interpolate between; `kp.FourierPositions` travel to any size. "
                f"Received: positions={self.positions}"
            )
        return super().resized(shape)

    def position_grid(self, shape):
        return tuple(shape[:2])

    @property
    def _positions_travel(self):
        return isinstance(self.positions, FourierPositions)

    def content_shape_of(self, shape):
        height, width, channels = shape
        if not self._positions_travel:
            return tuple(shape)
        features = self.positions.channels((height, width))
        return (height * width, channels + features)

    def symbolic_inputs(self):
        if not self.use_mask:
            return super().symbolic_inputs()
        mask = keras.Input(self.shape[:2], name=self.mask_name, dtype="bool")
        raw = keras.Input(self.shape, name=self.input_name)
        return {self.input_name: raw, self.mask_name: mask}

    def content(self, raw, mask=None, training=None):
        height, width, channels = self.shape
        pixels = ops.reshape(raw, (-1, height * width, channels))
        pixels = ops.take(pixels, self.order, axis=1)
        if not self._positions_travel:
            return ops.reshape(pixels, (-1, *self.shape))
        features = self.positions.grid((height, width))
        features = ops.reshape(features, (1, height * width, -1))
        features = ops.cast(ops.take(features, self.order, axis=1), pixels.dtype)
        shape = (ops.shape(pixels)[0], *features.shape[1:])
        return ops.concatenate([pixels, ops.broadcast_to(features, shape)], axis=-1)

    def content_mask(self, raw, mask):
        mask = ops.reshape(mask, (-1, math.prod(self.shape[:2])))
        mask = ops.take(mask, self.order, axis=1)
        return ops.reshape(mask, (-1, *self.content_shape[:-1]))

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
