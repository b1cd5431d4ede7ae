"""Steps that one point cloud goes through on its way into a batch.

Each factory returns a pure function from an example, a dict of tensors, to an
example; it works eagerly and inside `tf.data` alike. Points are float32 of shape
(n, 3 + features): coordinates, then features, of which the first three are the unit
normal where a cloud has normals.

Random steps draw from `example["seed"]` alone, an integer tensor of shape (2,), each
in its own way, so the same seed gives the same cloud in whatever order and on however
many threads examples are read.
"""

import tensorflow as tf

from pipelines import python_ops
from pipelines.point_files import decode_points
from pipelines.seeds import op_seed

ROTATIONS = ("any", "x", "y", "z")


def read_points(num_features, num_surface_points):
    """Makes the step that reads and decodes the cloud of an example.

    Takes `example["encoded"]`, the bytes of a file, or else the file at
    `example["path"]`; an `example["points"]` is kept. See `decode_points`.

    Args:
        num_features: int, how many features to keep; a cloud that has fewer is an
            error. None keeps all.
        num_surface_points: int, how many points to sample on a mesh.

    Returns:
        Function from example to example with "points".
    """

    def apply(example):
        example = dict(example)
        if "points" in example:
            points = example["points"]
            if num_features is not None:
                points = points[:, : 3 + num_features]
        else:
            if "encoded" in example:
                encoded = example.pop("encoded")
            else:
                encoded = tf.io.read_file(example["path"])
            points = python_ops.call(
                _decode,
                [encoded],
                tf.float32,
                num_features=num_features,
                num_surface_points=num_surface_points,
            )
        width = None if num_features is None else 3 + num_features
        example["points"] = tf.ensure_shape(points, (None, width))
        return example

    return apply


def _decode(encoded, num_features, num_surface_points):
    if not isinstance(encoded, bytes):  # Eagerly, it comes as an array.
        encoded = encoded.item()
    points = decode_points(encoded, num_surface_points)
    return select_features(points, num_features)


def select_features(points, num_features):
    """The first features of a cloud.

    Args:
        points: float array of shape (n, 3 + features).
        num_features: int, how many to keep; None for all.

    Returns:
        Float array of shape (n, 3 + num_features).

    Raises:
        ValueError: if the cloud has fewer.
    """
    if num_features is None:
        return points
    if points.shape[1] < 3 + num_features:
        raise ValueError(
            f"it has {points.shape[1] - 3} features beside its coordinates where "
            f"{num_features} are needed"
        )
    return points[:, : 3 + num_features]


def take_evenly(num_points, repeat):
    """Makes the step that takes points at even distances in the order of the cloud.

    Args:
        num_points: int, how many points to take.
        repeat: bool, whether points of a cloud that has fewer come several times;
            otherwise it keeps those that it has.

    Returns:
        Function from example to example.
    """

    def apply(example):
        available = tf.shape(example["points"], tf.int64)[0]
        count = _count(num_points, available, repeat)
        chosen = tf.range(count) * available // count
        return _gather(example, chosen, num_points if repeat else None)

    return apply


def take_at_random(num_points, repeat):
    """Makes the step that takes points at random, none twice if there are enough.

    Args:
        num_points: int, how many points to take.
        repeat: bool, as for `take_evenly`.

    Returns:
        Function from example to example.
    """

    def apply(example):
        available = tf.shape(example["points"], tf.int64)[0]
        draws = tf.random.stateless_uniform(
            available[None], op_seed(example, "take_at_random")
        )
        count = _count(num_points, available, repeat)
        chosen = tf.gather(tf.argsort(draws), tf.range(count) % available)
        return _gather(example, chosen, num_points if repeat else None)

    return apply


def drop_at_random(most, repeat):
    """Makes the step that drops a random part of a cloud in random order.

    Args:
        most: float in [0, 1), the largest part that is dropped.
        repeat: bool, whether points that stay come again in place of those dropped.

    Returns:
        Function from example to example, of which at least one point stays.
    """

    def apply(example):
        points = example["points"]
        available = tf.shape(points)[0]
        part = tf.random.stateless_uniform(
            (), op_seed(example, "drop_at_random"), 0.0, most
        )
        dropped = tf.cast(part * tf.cast(available, tf.float32), tf.int32)
        kept = tf.maximum(available - dropped, 1)
        chosen = tf.range(available if repeat else kept) % kept
        return _gather(example, chosen, points.shape[0] if repeat else None)

    return apply


def normalize():
    """Makes the step that moves the mean to 0 and scales into the cube [-1, 1].

    As ModelNet40 is in the paper (section 4.3). The three coordinates are scaled
    alike, so the largest of all becomes 1; features stay as they are.

    Returns:
        Function from example to example.
    """

    def apply(example):
        def change(coordinates):
            coordinates -= tf.reduce_mean(coordinates, axis=0)
            return tf.math.divide_no_nan(
                coordinates, tf.reduce_max(tf.abs(coordinates))
            )

        return _change(example, change)

    return apply


def scale_each(low=0.99, high=1.01):
    """Makes the step that scales each point by a factor of its own.

    As in the paper (section 4.3).

    Args:
        low: float, the smallest factor.
        high: float, the largest factor.

    Returns:
        Function from example to example.
    """

    def apply(example):
        def change(coordinates):
            shape = tf.stack([tf.shape(coordinates)[0], 1])
            seed = op_seed(example, "scale_each")
            return coordinates * tf.random.stateless_uniform(shape, seed, low, high)

        return _change(example, change)

    return apply


def rotate(axis, normals=False):
    """Makes the step that turns the cloud at random.

    Args:
        axis: "x", "y" or "z" to turn around that axis, "any" for all rotations alike.
        normals: bool, whether the first three features are a normal, which turns too.

    Returns:
        Function from example to example.
    """

    def apply(example):
        return _turn(example, _rotation(axis, op_seed(example, "rotate")), normals)

    return apply


def align(normals=False):
    """Makes the step that turns the cloud onto its principal axes.

    The first axis is that of the largest variance, and the cloud leans (in its third
    moments) towards the positive side of the first two; it turns and never mirrors. A
    cloud in whatever direction so comes out in one, but for axes along which it is
    symmetric or extends alike.

    Args:
        normals: bool, whether the first three features are a normal, which turns too.

    Returns:
        Function from example to example.
    """

    def apply(example):
        centred = example["points"][:, :3]
        centred -= tf.reduce_mean(centred, axis=0)
        _, axes = tf.linalg.eigh(tf.matmul(centred, centred, transpose_a=True))
        first, second = axes[:, 2], axes[:, 1]
        first, second = (
            axis
            * tf.where(tf.reduce_sum((centred @ axis[:, None]) ** 3) < 0, -1.0, 1.0)
            for axis in (first, second)
        )
        matrix = tf.stack([first, second, tf.linalg.cross(first, second)], axis=1)
        return _turn(example, matrix, normals)

    return apply


def jitter(standard_deviation):
    """Makes the step that adds normal noise to each coordinate.

    Args:
        standard_deviation: float, in units of the coordinates.

    Returns:
        Function from example to example.
    """

    def apply(example):
        def change(coordinates):
            return coordinates + tf.random.stateless_normal(
                tf.shape(coordinates),
                op_seed(example, "jitter"),
                stddev=standard_deviation,
            )

        return _change(example, change)

    return apply


def pad(num_points):
    """Makes the step that fills a cloud up with zeros, and says what is not filled up.

    Args:
        num_points: int, how many points the model takes, at least those of the cloud.

    Returns:
        Function from example to example with "points" of shape
        (num_points, 3 + features) and "points_mask", bool (num_points,).
    """

    def apply(example):
        points = example["points"]
        available = tf.shape(points)[0]
        padded = tf.pad(points, [(0, num_points - available), (0, 0)])
        return {
            **example,
            "points": tf.ensure_shape(padded, (num_points, points.shape[1])),
            "points_mask": tf.range(num_points) < available,
        }

    return apply


def _count(num_points, available, repeat):
    wanted = tf.constant(num_points, tf.int64)
    return wanted if repeat else tf.minimum(wanted, available)


def _gather(example, chosen, count):
    points = tf.gather(example["points"], chosen)
    return {**example, "points": tf.ensure_shape(points, (count, points.shape[1]))}


def _change(example, change):
    """Changes the coordinates of an example, not its features."""
    points = example["points"]
    changed = tf.concat([change(points[:, :3]), points[:, 3:]], axis=-1)
    return {**example, "points": tf.ensure_shape(changed, points.shape)}


def _turn(example, matrix, normals):
    """Turns the coordinates of an example, and its normals where it has them."""
    points = example["points"]
    parts = [points[:, :3] @ matrix]
    if normals:
        parts.append(points[:, 3:6] @ matrix)
    rest = points[:, 6 if normals else 3 :]
    points = tf.ensure_shape(tf.concat([*parts, rest], axis=-1), points.shape)
    return {**example, "points": points}


def _rotation(axis, seed):
    """A random rotation matrix (3, 3), for row vectors."""
    if axis == "any":
        # A normal vector in four dimensions has any direction alike, and unit
        # quaternions cover the rotations evenly.
        quaternion = tf.random.stateless_normal((4,), seed)
    else:
        half = tf.random.stateless_uniform((), seed, 0.0, 3.14159265)
        place = tf.one_hot("xyz".index(axis), 3)
        quaternion = tf.concat([tf.cos(half)[None], tf.sin(half) * place], axis=0)
    w, x, y, z = tf.unstack(quaternion / tf.norm(quaternion))
    return tf.reshape(
        [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ],
        (3, 3),
    )
