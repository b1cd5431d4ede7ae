"""Video: every pixel of every frame, or patches of space and time."""

from keras_perceiver.inputs.grid import GridInput
from keras_perceiver.serialization import serializable


@serializable
class VideoInput(GridInput):
    """Pixels of a video, each an input of its own, or patches of space and time.

    The paper's models of AudioSet cut 32 frames of 224 x 224 pixels into
    `patch_size=(2, 8, 8)`, 12,544 inputs.

    Args:
        shape: sequence (frames, height, width, channels). Frames, height and width may
            be `None` where they vary; the positions must then be Fourier.
        positions: `kp.FourierPositions` or `kp.LearnedPositions` of the grid of pixels,
            or of that of the patches.
        patch_size: int, sequence of three ints or `None`. Frames, rows and columns of a
            patch; a patch is one input, its channels in the order (dt, dh, dw, c).
        projection_dim: int or `None`. Width to which a linear layer takes each input.
        use_mask: bool. Whether the model also takes `"video_mask"`, bool
            `(B, frames, height, width)`, an entry for each input, `True` = attend.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: float tensor `(B, frames, height, width, channels)`, values within
            [-1, 1]. With a mask, a dict with `"video_mask"`, too.

    Returns:
        Content on its grid in the compute dtype, and the mask where there is one.

    Raises:
        ValueError: where a video does not have this shape.

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), section 4.2.
    """

    input_name = "video"
    kind = "videos"
    axes = ("frames", "height", "width", "channels")
