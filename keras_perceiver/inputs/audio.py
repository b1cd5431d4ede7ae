"""Sound: segments of the wave, or the cells of a spectrogram."""

from keras import ops

from keras_perceiver.inputs.grid import GridInput
from keras_perceiver.serialization import serializable
from keras_perceiver.validation import check_positive


@serializable
class AudioInput(GridInput):
    """Segments of a wave, each an input with its samples as channels.

    The paper's models of AudioSet cut 61,440 samples into 480 segments of 128.

    Args:
        shape: sequence (samples,); `None` where their number varies.
        positions: `kp.FourierPositions` or `kp.LearnedPositions` of the sequence of
            `ceil(samples / segment_length)` segments.
        segment_length: int. Samples of a segment; the last one is filled up with
            silence.
        projection_dim: int or `None`. Width to which a linear layer takes each segment.
        use_mask: bool. Whether the model also takes `"audio_mask"`, bool
            `(B, segments)`, `True` = attend.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: float tensor `(B, samples)`, values within [-1, 1]. With a mask, a dict
            with `"audio_mask"`, too.

    Returns:
        Float tensor `(B, segments, segment_length)`, and the mask where there is one.

    Raises:
        ValueError: where a wave does not have this shape.

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), section 4.2.
    """

    input_name = "audio"
    patch_name = "segment_length"
    kind = "waves"
    axes = ("samples",)

    def __init__(self, shape, positions, segment_length=128, **kwargs):
        check_positive(segment_length=segment_length)
        super().__init__(shape, positions, patch_size=segment_length, **kwargs)

    @property
    def segment_length(self):
        return self.patch_size[0]

    def get_config(self):
        config = super().get_config()
        del config["patch_size"]  # By its other name.
        return {**config, "segment_length": self.segment_length}

    def _shape_on_grid(self, shape):
        return (*shape, 1)

    def _on_grid(self, raw):
        return raw[..., None]


@serializable
class SpectrogramInput(GridInput):
    """Cells of a spectrogram, each bin of each frame an input of one channel.

    Args:
        shape: sequence (frames, bins). Frames may be `None` where they vary.
        positions: `kp.FourierPositions` or `kp.LearnedPositions` of the grid (frames,
            bins); of the sequence of `frames * bins` cells where they are flattened.
        flatten: bool. Whether the cells are one sequence, frame after frame, so that a
            position tells time and frequency by one number, as in the paper.
        patch_size: int, pair of ints or `None`. Frames and bins of a patch; not where
            the cells are flattened.
        projection_dim: int or `None`. Width to which a linear layer takes each input.
        use_mask: bool. Whether the model also takes `"audio_mask"`, bool, an entry for
            each input, `True` = attend.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: float tensor `(B, frames, bins)`, e.g. of a mel spectrogram. With a
            mask, a dict with `"audio_mask"`, too.

    Returns:
        Float tensor `(B, frames, bins, 1)`, or `(B, frames * bins, 1)` flattened, and
        the mask where there is one.

    Raises:
        ValueError: where a spectrogram does not have this shape.

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), section 4.2: 4,800 inputs
      once flattened.
    """

    input_name = "audio"
    kind = "spectrograms"
    axes = ("frames", "bins")

    def __init__(self, shape, positions, flatten=False, patch_size=None, **kwargs):
        if flatten and patch_size is not None:
            raise ValueError(
                "`patch_size` is for spectrograms that are not flattened. Received: "
                f"patch_size={patch_size}, flatten=True"
            )
        self.flatten = flatten  # The shape of the content depends on it.
        super().__init__(shape, positions, patch_size=patch_size, **kwargs)

    def get_config(self):
        return {**super().get_config(), "flatten": self.flatten}

    def lay_out(self, values, shape):
        if not self.flatten:
            return super().lay_out(values, shape)
        return values.reshape(*values.shape[:-1], *shape)

    def _shape_on_grid(self, shape):
        if not self.flatten:
            return (*shape, 1)
        frames, bins = shape
        return (None if None in (frames, bins) else frames * bins, 1)

    def _on_grid(self, raw):
        if not self.flatten:
            return raw[..., None]
        batch, frames, bins = ops.shape(raw)
        return ops.reshape(raw, (batch, frames * bins, 1))
