"""From the bytes of a point cloud or a mesh to points."""

import io
import re
import zlib

import numpy as np

# What these arrays are called in NPZ files.
_COORDINATES = ("points", "xyz", "pos", "vertices")
_NORMALS = ("normals", "normal")
_COMMENTS = ("#", "//")


def decode_points(encoded, num_surface_points):
    """Decodes a point cloud, or samples the surface of a mesh.

    What the bytes are, not the file's suffix, decides how they are decoded:

    * NPY: an array of shape (n, 3 + features).
    * NPZ: such an array as "points" (or "xyz", "pos", "vertices", or the only one),
      and unit normals (n, 3), if there are, as "normals".
    * PLY: x, y and z of the vertices, then their other properties in the order of the
      file, normals first, those of a byte (colours) scaled to [0, 1].
    * OFF, OBJ: the vertices.
    * XYZ: lines of numbers, separated by white space or commas; the first three are
      the coordinates.

    A mesh that has faces is sampled uniformly by area, without features; the sample
    follows from the bytes alone. Coordinates are relative to the mean of the cloud,
    which keeps their precision however far from the origin they are.

    Args:
        encoded: bytes.
        num_surface_points: int, how many points to sample on a mesh.

    Returns:
        float32 array of shape (n, 3 + features), n at least 1, finite.

    Raises:
        ValueError: if the bytes hold no points, or trimesh, which reads PLY, OFF and
            OBJ, is not installed.
    """
    if encoded.startswith(b"\x93NUMPY"):
        points = _load(encoded, "NPY")
    elif encoded.startswith(b"PK\x03\x04"):
        points = _read_npz(encoded)
    elif encoded.startswith(b"ply"):
        points = _read_mesh(encoded, "ply", num_surface_points)
    elif re.match(rb"(\s*#[^\n]*\n)*\s*C?OFF", encoded):
        points = _read_mesh(encoded, "off", num_surface_points)
    elif re.search(rb"^\s*v\s", encoded, re.MULTILINE):
        points = _read_mesh(_count_from_start(encoded), "obj", num_surface_points)
    else:
        points = _read_xyz(encoded)
    return check_points(points)


def check_points(points):
    """Checks that an array is a point cloud, and centres it.

    Args:
        points: array of shape (n, 3 + features).

    Returns:
        float32 array of that shape; the mean of the coordinates is 0.

    Raises:
        ValueError: if the type, the shape or the values are not those of points.
    """
    points = np.asarray(points)
    if not np.issubdtype(points.dtype, np.number) or np.iscomplexobj(points):
        raise ValueError(f"points must be numbers, not {points.dtype}")
    if points.ndim != 2 or points.shape[1] < 3:
        raise ValueError(
            f"points must be of shape (n, 3 + features). Received: shape={points.shape}"
        )
    if not len(points):
        raise ValueError("it holds no points")
    points = points.astype(np.float64)
    # What is not finite stays so, and what is too large for float32 becomes so.
    with np.errstate(over="ignore", invalid="ignore"):
        points[:, :3] -= points[:, :3].mean(axis=0)
        points = points.astype(np.float32)
    if not np.isfinite(points).all():
        raise ValueError("it holds numbers that are not finite")
    return points


def sample_surface(vertices, faces, count, random_state):
    """Samples points on triangles, uniformly by area.

    Args:
        vertices: float array of shape (V, 3).
        faces: integer array of shape (F, 3), the vertices of each triangle.
        count: int, how many points to sample.
        random_state: `np.random.RandomState`.

    Returns:
        float64 array of shape (count, 3).

    Raises:
        ValueError: if no triangle has an area.
    """
    origins = vertices[faces[:, 0]]
    edges = vertices[faces[:, 1:]] - origins[:, None]
    normals = np.cross(edges[:, 0], edges[:, 1])
    areas = np.cumsum(np.sqrt(np.einsum("fi,fi->f", normals, normals)))
    if not (0 < areas[-1] < np.inf):
        raise ValueError("it holds a mesh whose area is not positive and finite")
    draws = random_state.random_sample((3, count))
    # To the right: a draw of just 0 passes by faces without an area.
    chosen = np.searchsorted(areas, draws[0] * areas[-1], side="right")
    chosen = np.minimum(chosen, len(faces) - 1)
    # Uniform on the parallelogram of two edges; the far half is folded back.
    weights = draws[1:]
    weights = np.where(weights.sum(axis=0) > 1, 1 - weights, weights)
    return origins[chosen] + np.einsum("en,nei->ni", weights, edges[chosen])


def _read_npz(encoded):
    members = _load(encoded, "NPZ")  # Of which some may be files of another kind.
    arrays = {n: a for n, a in members.items() if isinstance(a, np.ndarray)}
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    points = _find(arrays, _COORDINATES)
    if points is None:
        raise ValueError(
            f"one of its arrays must be called 'points'. Received: {sorted(arrays)}"
        )
    normals = _find(arrays, _NORMALS)
    if normals is None:
        return points
    if points.ndim != 2 or normals.shape != (len(points), 3):
        raise ValueError(
            "its points and normals must be of shapes (n, 3) and (n, 3). "
            f"Received: {points.shape} and {normals.shape}"
        )
    return np.concatenate([points[:, :3], normals, points[:, 3:]], axis=1)


def _load(encoded, file_type):
    try:
        loaded = np.load(io.BytesIO(encoded), allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    # NumPy raises whatever its parsing, or that of the archive, happens to run into.
    except Exception as error:
        raise ValueError(_broken(file_type, error)) from None


def _broken(file_type, error):
    return f"the {file_type} file is broken ({type(error).__name__}: {error})"


def _find(arrays, names):
    return next((arrays[name] for name in names if name in arrays), None)


def _read_mesh(encoded, file_type, num_surface_points):
    try:
        import trimesh
    except ImportError:
        raise ValueError(
            "PLY, OFF and OBJ files need trimesh; run: pip install trimesh"
        ) from None

    try:
        # A scene, as a file may hold several meshes.
        scene = trimesh.load_scene(
            io.BytesIO(encoded),
            file_type=file_type,
            process=False,
            skip_materials=True,
        )
        parts = list(scene.geometry.values())
    # trimesh raises whatever its parsing happens to run into.
    except Exception as error:
        raise ValueError(_broken(file_type.upper(), error)) from None
    meshes = [part for part in parts if len(getattr(part, "faces", ()))]
    if not meshes:
        clouds = [_vertices(part) for part in parts if len(part.vertices)]
        return np.concatenate(clouds) if clouds else np.empty((0, 3))
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return sample_surface(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate(
            [mesh.faces + offset for mesh, offset in zip(meshes, offsets, strict=False)]
        ),
        num_surface_points,
        np.random.RandomState(zlib.crc32(encoded)),
    )


def _count_from_start(encoded):
    """An OBJ file without negative indices, which trimesh misreads.

    Index -1 is the last vertex above its line. Texture coordinates and normals, which
    are of no use here, are left out.
    """
    if not re.search(rb"^\s*[flp]\s.*-", encoded, re.MULTILINE):
        return encoded
    num_vertices = 0
    lines = re.sub(rb"\\\r?\n", b" ", encoded).splitlines()
    for i, line in enumerate(lines):
        kind, *corners = line.partition(b"#")[0].split() or [b""]
        if kind == b"v":
            num_vertices += 1
        elif kind in (b"f", b"l", b"p"):
            lines[i] = b" ".join([kind, *(_vertex(c, num_vertices) for c in corners)])
    return b"\n".join(lines)


def _vertex(corner, num_vertices):
    """The vertex of a corner v, v/vt, v//vn or v/vt/vn, counted from the first."""
    index = corner.partition(b"/")[0]
    if not index.startswith(b"-"):
        return index
    number = num_vertices + 1 + int(index) if index[1:].isdigit() else 0
    if number < 1:
        text = index.decode("utf-8", "replace")
        raise ValueError(
            f"the OBJ file is broken (index {text} after {num_vertices} vertices)"
        )
    return b"%d" % number


def _vertices(cloud):
    """The vertices of a cloud with what else its file says about each of them."""
    raw = cloud.metadata.get("_ply_raw", {}).get("vertex", {}).get("data")
    if raw is None:
        return np.asarray(cloud.vertices)
    columns = (
        dict(raw) if isinstance(raw, dict) else {n: raw[n] for n in raw.dtype.names}
    )
    first = ("x", "y", "z", "nx", "ny", "nz")
    names = [
        *(name for name in first if name in columns),
        *(name for name in columns if name not in first),
    ]
    return np.column_stack([_as_feature(columns[name]) for name in names])


def _as_feature(column):
    return column / 255 if column.dtype == np.uint8 else column


def _read_xyz(encoded):
    lines = encoded.decode("utf-8", "replace").replace(",", " ").splitlines()
    if not any(line.strip() and not line.startswith(_COMMENTS) for line in lines):
        return np.empty((0, 3))
    try:
        return np.loadtxt(lines, comments=_COMMENTS, ndmin=2)
    except ValueError:
        raise ValueError(
            "it is neither NPY, NPZ, PLY, OFF or OBJ, nor lines of numbers, "
            "as many in each"
        ) from None
