"""Points: places of their own for each example, and what was measured there."""

from keras import ops

from keras_perceiver.inputs.base import TensorAdapter
from keras_perceiver.positions import FourierPositions
from keras_perceiver.serialization import serializable
from keras_perceiver.validation import check_instance, check_positive


@serializable
class PointsInput(TensorAdapter):
    """Points of a cloud in any order, each an input: its features and its position.

    The paper's model of ModelNet40 has
    `PointsInput((2048, 3), kp.FourierPositions(64, 2240))`, 387 channels.

    Args:
        shape: sequence (points, coordinates + features); the number of points may be
            `None` where it varies from batch to batch.
        positions: `kp.FourierPositions` with a `max_resolution`, of the coordinates.
        num_coordinates: int, d. How many of the channels, the first ones, are
            coordinates; those that remain are features.
        use_mask: bool. Whether the model also takes `"points_mask"`, bool
            `(B, points)`, `True` = attend: for clouds of different numbers of points.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: float tensor `(B, points, coordinates + features)`, coordinates within
            [-1, 1]. With a mask, a dict with `"points_mask"`, too.

    Returns:
        Features, then the Fourier features of the coordinates, `(B, points, C)` in the
        compute dtype; and the mask where there is one.

    Raises:
        ValueError: where a cloud does not have this shape.

    References:
    - [Jaegle et al., 2021](https://arxiv.org/abs/2103.03206), section 4.3.
    """

    input_name = "points"
    kind = "points"
    axes = ("points", "channels")

    def __init__(self, shape, positions, num_coordinates=3, use_mask=False, **kwargs):
        check_instance(FourierPositions, "`kp.FourierPositions`", positions=positions)
        check_positive(num_coordinates=num_coordinates)
        shape = self.checked_shape(shape)
        if shape[-1] is not None and shape[-1] < num_coordinates:
            raise ValueError(
                f"`shape` of points must have at least {num_coordinates} channels, "
                f"their coordinates. Received: shape={shape}"
            )
        if positions.max_resolution is None:
            raise ValueError(
                "`positions` of points must have a `max_resolution`, since points have "
                "no grid to take it from. Received: max_resolution=None"
            )
        self.num_coordinates = num_coordinates
        super().__init__(shape, positions, use_mask=use_mask, **kwargs)

    @property
    def grid_positions(self):
        return None  # They differ from example to example, and are content.

    def position_grid(self, shape):
        return (None,) * self.num_coordinates  # Points are on none.

    def content_shape_of(self, shape):
        points, channels = shape
        if channels is None:
            return shape
        rank = self.num_coordinates
        return points, channels - rank + self.positions.channels((None,) * rank)

    def content(self, raw, mask=None, training=None):
        places = self.positions(raw[..., : self.num_coordinates])
        features = raw[..., self.num_coordinates :]
        return ops.concatenate(
            [ops.cast(x, self.compute_dtype) for x in (features, places)], axis=-1
        )

    def get_config(self):
        return {**super().get_config(), "num_coordinates": self.num_coordinates}
