"""The recipe of point clouds: from a source of clouds or meshes to batches."""

import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from pipelines.checks import check_choice, check_integer, check_range
from pipelines.errors import read_first
from pipelines.point_files import check_points
from pipelines.point_ops import (
    ROTATIONS,
    align,
    drop_at_random,
    jitter,
    normalize,
    pad,
    read_points,
    rotate,
    scale_each,
    select_features,
    take_at_random,
    take_evenly,
)
from pipelines.recipe import Recipe

MOST_POINTS = 1024  # By default; two processor cores can learn from them.
# How many times the points of a batch are sampled on a mesh, for training to choose
# others in each epoch.
SURFACE_FACTOR = 4
# How many clouds a recipe looks at to find its fields.
NUM_LOOKED_AT = 64
# How many of them, at least, must have axes of their own to tell how clouds lie.
NUM_WITH_AXES = 16
# What, of the length of a coordinate axis, the nearest principal axis covers: 1 of
# clouds that stand upright, 0.83 on average of those that lie in any direction.
UPRIGHT = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointsRecipe(Recipe):
    """Point clouds around the origin, float32 `(num_points, 3 + num_features)`.

    Coordinates have a mean of 0 and lie in the cube [-1, 1], the largest of all being
    1, as the paper has ModelNet40 (section 4.3). Features stay as they are. Training
    takes points at random; evaluation takes them evenly in the order of the cloud, so
    that the same cloud is always the same input.

    Args:
        num_points: int, how many points the model takes.
        num_features: int, how many numbers each point has beside its coordinates.
        normals: bool, whether the first three features are unit normals, which turn
            with the cloud.
        align: bool, whether each cloud is turned onto its principal axes, for clouds
            that may lie in any direction.
        use_mask: bool, whether clouds that have fewer points are filled up with zeros
            and come with "points_mask", bool `(num_points,)`. Otherwise their points
            are repeated.

    Raises:
        ValueError: if an argument is out of its range.
    """

    modality: ClassVar[str] = "points"

    num_points: int
    num_features: int = 0
    normals: bool = False
    align: bool = False
    use_mask: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_integer("num_points", self.num_points, 1)
        check_integer("num_features", self.num_features, 0)
        for name in ("normals", "align", "use_mask"):
            check_choice(name, getattr(self, name), (False, True))
        if self.normals and self.num_features < 3:
            raise ValueError(
                "`normals` must be among the features, three of them. "
                f"Received: normals=True, num_features={self.num_features}"
            )

    @property
    def inputs(self):
        return ("points", "points_mask") if self.use_mask else "points"

    @classmethod
    def from_source(cls, source, skip_unreadable=False, **given):
        """A recipe whose fields are found from the first clouds, where not given.

        Args:
            source: `Source` of points.
            skip_unreadable: bool, whether those that cannot be read are passed over.
            **given: values of fields. By default `num_points` is as many as the
                largest of the clouds has, but at most 1,024; `num_features` as many
                as all of them have if these are equally many, else 0; `normals` is
                whether the first three are unit vectors everywhere; `align` is
                whether their principal axes lie in any direction; `use_mask` is
                whether a cloud has fewer than `num_points`.

        Raises:
            ValueError: if a value is out of its range, or one of these clouds cannot
                be decoded.
        """
        given = {name: value for name, value in given.items() if value is not None}
        most = given.get("num_points", MOST_POINTS)
        clouds = _look_at(source, most, skip_unreadable)
        sizes = [len(points) for points in clouds]
        widths = {points.shape[1] - 3 for points in clouds}
        found = {
            "num_points": min(MOST_POINTS, max(sizes)),
            "num_features": widths.pop() if len(widths) == 1 else 0,
            **given,
        }
        found.setdefault(
            "normals",
            found["num_features"] >= 3 and all(map(_has_normals, clouds)),
        )
        found.setdefault("align", _lie_in_any_direction(clouds))
        found.setdefault("use_mask", min(sizes) < found["num_points"])
        return cls(**found)

    def training_ops(
        self, cache=False, *, rotation="none", scale=0.0, jitter_std=0.0, dropout=0.0
    ):
        """See `Recipe.training_ops`.

        Args:
            cache: bool, whether the decoded clouds will be kept in memory.
            rotation: "none"; "x", "y" or "z" to turn clouds around that axis; "any"
                for all rotations.
            scale: float in [0, 1), each point is scaled by a factor of its own in
                [1 - scale, 1 + scale]; 0.01 in the paper.
            jitter_std: float, standard deviation of noise on each coordinate, where
                the cloud fills the cube [-1, 1].
            dropout: float in [0, 1), the largest part of the points that is dropped
                at random; those that stay come again in their place unless the
                recipe has a mask.
        """
        check_choice("rotation", rotation, ("none", *ROTATIONS))
        check_range(0, 1, scale=scale)
        check_range(0, 1, jitter_std=jitter_std)
        check_range(0, 1, dropout=dropout)
        repeat = not self.use_mask
        return [self._read()], [
            take_at_random(self.num_points, repeat),
            *([drop_at_random(dropout, repeat)] if dropout else []),
            *([scale_each(1 - scale, 1 + scale)] if scale else []),
            *([rotate(rotation, self.normals)] if rotation != "none" else []),
            *self._align(),
            normalize(),
            *([jitter(jitter_std)] if jitter_std else []),
            *self._finish(),
        ]

    def evaluation_ops(self):
        return [
            self._read(),
            take_evenly(self.num_points, repeat=not self.use_mask),
            *self._align(),
            normalize(),
            *self._finish(),
        ]

    def _align(self):
        return [align(self.normals)] if self.align else []

    def _read(self):
        return read_points(self.num_features, SURFACE_FACTOR * self.num_points)

    def _finish(self):
        return [pad(self.num_points)] if self.use_mask else []

    def example(self, item):
        """The example of an array, (n, 3 + features) with at least `num_features`."""
        try:
            points = select_features(check_points(item), self.num_features)
        except ValueError as error:
            reason = str(error).rstrip(".")
            raise ValueError(f"`items` must be point clouds: {reason}") from None
        return {"points": tf.constant(points)}

    def describe(self):
        most = "up to " if self.use_mask else ""
        kind = " (normals first)" if self.normals else ""
        features = f" and {self.num_features} features{kind}" * bool(self.num_features)
        turned = ", turned onto their principal axes" * self.align
        return (
            f"clouds of {most}{self.num_points:,} points of 3 coordinates{features}"
            f"{turned}"
        )

    def _check_items(self, items):
        super()._check_items(items)
        if isinstance(items, np.ndarray) and items.ndim == 2:
            raise ValueError(
                "`items` must be a sequence; pass a single cloud as points[None]. "
                f"Received: shape={items.shape}"
            )


def _look_at(source, num_surface_points, skip_unreadable):
    """The first clouds of a source, a list of float32 arrays."""
    read = read_points(None, num_surface_points)
    return read_first(
        source,
        lambda example: read(example)["points"],
        "point cloud",
        count=NUM_LOOKED_AT,
        skip_unreadable=skip_unreadable,
    )


def _has_normals(points):
    return np.allclose(np.linalg.norm(points[:, 3:6], axis=-1), 1, atol=1e-2)


def _lie_in_any_direction(clouds):
    """Whether no axis of space is upright, or along, or across, for all clouds."""
    covered = []
    for points in clouds:
        centred = points[:, :3] - points[:, :3].mean(axis=0)
        spread, axes = np.linalg.eigh(centred.T @ centred)
        if np.all(spread[1:] > 1.2 * spread[:-1]):
            covered.append(np.abs(axes).max(axis=1))
    if len(covered) < NUM_WITH_AXES:
        return False
    return bool(np.mean(covered, axis=0).max() < UPRIGHT)
