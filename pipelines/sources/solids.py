"""Solids: generated point clouds on the surfaces of ten solids."""

import dataclasses

import numpy as np

from pipelines.point_files import sample_surface
from pipelines.sources.source import source_from_columns
from pipelines.sources.splits import stratified_split

NUM_POINTS = 1024
# Of each class; one set for everybody, whatever the seed of a run.
NUM_TRAIN = 400  # The validation included.
NUM_TEST = 100
SCALE_RANGE = (0.3, 1.0)  # Of each axis, before the rotation.
NOISE = 0.03  # Standard deviation of each coordinate.

_MANY = 48


def _arc(start, stop, center, radius, steps=16):
    """Points (distance from the axis, height) on a circle, from angle to angle."""
    angles = np.linspace(start, stop, steps + 1)
    return [
        (center[0] + radius * np.cos(angle), center[1] + radius * np.sin(angle))
        for angle in angles
    ]


_RECTANGLE = [(0, -1), (1, -1), (1, 1), (0, 1)]
_TRIANGLE = [(0, -1), (1, -1), (0, 1)]
_RIGHT = np.pi / 2
# Each surface is an outline, in points (distance from the axis, height), turned around
# an axis, and how many sides it has.
SOLIDS = {
    "box": (_RECTANGLE, 4),
    "capsule": (
        [*_arc(-_RIGHT, 0, (0, -0.6), 0.6), *_arc(0, _RIGHT, (0, 0.6), 0.6)],
        _MANY,
    ),
    "cone": (_TRIANGLE, _MANY),
    "cylinder": (_RECTANGLE, _MANY),
    "prism": (_RECTANGLE, 3),
    "pyramid": (_TRIANGLE, 4),
    "sphere": (_arc(-_RIGHT, _RIGHT, (0, 0), 1), _MANY),
    "tetrahedron": (_TRIANGLE, 3),
    "torus": (_arc(0, 2 * np.pi, (0.7, 0), 0.3), _MANY),
    "tube": ([(0.6, -1), (1, -1), (1, 1), (0.6, 1), (0.6, -1)], _MANY),
}


def load(split, rule):
    """Loads one split of Solids: 1,024 points each, generated, 10 classes.

    The points lie uniformly, by area, on the surface of a solid whose axes are scaled
    at random, and which is then turned at random; a little noise is added.

    Args:
        split: "train", "validation" or "test".
        rule: `SplitRule`, of which only `seed` and `validation_fraction` count, since
            the test is fixed: 1,000 clouds of their own.

    Returns:
        A `Source` of points: float32 of shape (1024, 3).

    Raises:
        ValueError: if the rule leaves no cloud to the split.
    """
    classes = tuple(SOLIDS)
    count = NUM_TEST if split == "test" else NUM_TRAIN
    labels = np.repeat(np.arange(len(classes)), count)
    numbers = np.tile(np.arange(count), len(classes))
    if split != "test":
        rule = dataclasses.replace(rule, test_fraction=0)
        chosen = stratified_split(labels, split, rule, classes)
        labels, numbers = labels[chosen], numbers[chosen]
    surfaces = [turn(*solid) for solid in SOLIDS.values()]
    stream = int(split == "test")
    points = np.stack(
        [
            _generate(*surfaces[label], np.random.RandomState([stream, label, number]))
            for label, number in zip(labels, numbers, strict=True)
        ]
    )
    return source_from_columns(
        {"points": points}, labels, classes=classes, name="builtin:solids"
    )


def turn(outline, num_sides):
    """The surface of a solid, unscaled.

    Args:
        outline: sequence of points (distance from the axis, height).
        num_sides: int, how many times the outline is there around the axis.

    Returns:
        Vertices, float64 (V, 3), and triangles, int64 (F, 3).
    """
    outline = np.array(outline, np.float64)
    angles = 2 * np.pi * np.arange(num_sides) / num_sides
    around = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    vertices = np.empty((len(outline), num_sides, 3))
    vertices[..., :2] = outline[:, :1, None] * around
    vertices[..., 2] = outline[:, 1:]
    numbers = np.arange(len(outline) * num_sides).reshape(len(outline), num_sides)
    beside = np.roll(numbers, -1, axis=1)
    faces = [
        np.stack([numbers[:-1], beside[:-1], numbers[1:]], axis=-1),
        np.stack([beside[1:], numbers[1:], beside[:-1]], axis=-1),
    ]
    return vertices.reshape(-1, 3), np.concatenate(faces).reshape(-1, 3)


def _generate(vertices, faces, random_state):
    """Returns one cloud, float32 (NUM_POINTS, 3)."""
    scaled = vertices * random_state.uniform(*SCALE_RANGE, 3)
    points = sample_surface(scaled, faces, NUM_POINTS, random_state)
    noise = NOISE * random_state.standard_normal(points.shape)
    return (points @ _random_rotation(random_state) + noise).astype(np.float32)


def _random_rotation(random_state):
    """A rotation matrix (3, 3), uniform among all."""
    q, r = np.linalg.qr(random_state.standard_normal((3, 3)))
    q *= np.sign(np.diag(r))
    return q * np.linalg.det(q)  # In three dimensions -q turns where q mirrors.
