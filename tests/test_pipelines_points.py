"""Point clouds: files, steps, the recipe, and the generated solids."""

import io
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipelines import point_ops
from pipelines.point_files import decode_points, sample_surface
from pipelines.points import PointsRecipe
from pipelines.recipes import load_recipe, save_recipe
from pipelines.sources import load_source
from pipelines.sources.solids import SOLIDS
from pipelines.sources.source import source_from_columns

trimesh = pytest.importorskip("trimesh")

CLOUD = np.random.RandomState(0).uniform(-3, 5, (50, 3))
CENTERED = (CLOUD - CLOUD.mean(axis=0)).astype(np.float32)
NORMALS = CLOUD / np.linalg.norm(CLOUD, axis=1, keepdims=True)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def lines(array, separator=" ", head=""):
    rows = (separator.join(map(repr, row)) for row in np.asarray(array).tolist())
    return (head + "\n".join(rows)).encode()


def ply_with_normals_and_colours():
    names = ["x", "y", "z", "red", "nx", "ny", "nz"]
    head = ["ply", "format ascii 1.0", f"element vertex {len(CLOUD)}"]
    head += [f"property {'uchar' if n == 'red' else 'float'} {n}" for n in names]
    red = np.full((len(CLOUD), 1), 51)
    body = lines(np.hstack([CLOUD, red, NORMALS])).decode().replace(" 51.0 ", " 51 ")
    return ("\n".join([*head, "end_header", body]) + "\n").encode()


def mesh(file_type, **kwargs):
    box = trimesh.creation.box((2, 2, 6))
    data = box.export(file_type=file_type, **kwargs)
    return data.encode() if isinstance(data, str) else data


class TestFiles:
    @pytest.mark.parametrize(
        "encoded",
        [
            npy(CLOUD),
            npz(anything=CLOUD),
            npz(points=CLOUD, label=np.array(3)),
            trimesh.PointCloud(CLOUD).export(file_type="ply"),
            lines(CLOUD),
            lines(CLOUD, ", ", head="# exported\n"),
            lines(np.hstack([np.full((50, 1), "v"), CLOUD])).replace(b"'", b""),
            b"OFF\n50 0 0\n" + lines(CLOUD),
            b"OFF50 0 0\n" + lines(CLOUD),  # As some files of ModelNet40 begin.
        ],
    )
    def test_each_format_gives_the_cloud(self, encoded):
        points = decode_points(encoded, 10)
        assert points.dtype == np.float32
        np.testing.assert_allclose(points, CENTERED, atol=1e-5)

    def test_features_come_normals_first(self):
        expected = np.hstack([NORMALS, np.full((50, 1), 0.2)])
        colour = np.full((50, 1), 0.2)
        for encoded in (
            ply_with_normals_and_colours(),
            npz(points=np.hstack([CLOUD, colour]), normals=NORMALS),
            npy(np.hstack([CLOUD, NORMALS, colour])),
        ):
            points = decode_points(encoded, 10)
            np.testing.assert_allclose(points[:, :3], CENTERED, atol=1e-5)
            np.testing.assert_allclose(points[:, 3:], expected, atol=1e-6)

    @pytest.mark.parametrize("file_type", ["off", "obj", "ply"])
    def test_meshes_are_sampled_by_area(self, file_type):
        encoded = mesh(file_type)
        points = decode_points(encoded, 6000)
        assert points.shape == (6000, 3)
        # The two small faces of a 2 x 2 x 6 box have 8 of its area of 56.
        on_ends = np.mean(points[:, 2] > 2.9) + np.mean(points[:, 2] < -2.9)
        assert abs(on_ends - (8 + 48 / 30) / 56) < 0.02
        np.testing.assert_array_equal(points, decode_points(encoded, 6000))

    def test_all_meshes_of_a_file_count(self):
        part = "v {0} 0 0\nv {0} 1 0\nv {0} 0 1\nusemtl m{0}\nf {1} {2} {3}\n"
        parts = part.format(0, 1, 2, 3) + part.format(9, 4, 5, 6)
        points = decode_points(parts.encode(), 1000)
        assert abs(np.mean(points[:, 0] > 0) - 0.5) < 0.06

    def test_obj_indices_may_count_from_the_end(self):
        part = "v {0} 0 0\nv {0} 1 0\nvt 0 1\nv {0} 0 1\nvn 0 0 1\n{1}\n"
        absolute, relative = (
            "".join(part.format(x, face) for x, face in enumerate(faces)).encode()
            for faces in (
                ("f 1 2 3", "f 4 5 6"),
                ("f -3/-1/-1 -2/-1/-1 -1/-1/-1", "f -3//1 -2//-2 \\\r\n  6//-1 # -"),
            )
        )
        points = decode_points(relative, 1000)
        # What is drawn on the mesh follows from the bytes, whose last line has no end.
        np.testing.assert_array_equal(points, decode_points(absolute.rstrip(), 1000))
        assert abs(np.mean(points[:, 0] > 0) - 0.5) < 0.06

    def test_far_from_the_origin_nothing_is_lost(self):
        points = decode_points(npy(CLOUD + 5e6), 10)
        np.testing.assert_allclose(points, CENTERED, atol=1e-6)

    def test_sampling_skips_faces_without_area(self):
        vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]], float)
        faces = np.array([[3, 3, 3], [0, 1, 2], [3, 3, 0]])
        points = sample_surface(vertices, faces, 500, np.random.RandomState(0))
        assert (points >= 0).all() and (points.sum(axis=1) <= 1).all()
        assert (points[:, 2] == 0).all()
        assert abs(points[:, 0].mean() - 1 / 3) < 0.05

    @pytest.mark.parametrize(
        "encoded, reason",
        [
            (b"", "no points"),
            (b"# only this\n", "no points"),
            (b"# # # " * 9999, "no points"),
            (b"OFF\n0 0 0\n", "no points"),
            (npy(np.zeros((0, 3))), "no points"),
            (b"Dear reader,\nthis is prose.\n", "neither NPY"),
            (b"1 2 3\n4 5\n", "neither NPY"),
            (b"1 2\n4 5\n", r"Received: shape=\(2, 2\)"),
            (npy(np.zeros(9)), r"Received: shape=\(9,\)"),
            (npy(np.array([["a", "b", "c"]])), "numbers"),
            (npy(np.array([[1, 2, np.nan]])), "not finite"),
            (lines(CLOUD) + b"\nnan 1 inf", "not finite"),
            (npy(np.array([[object()] * 3])), "pickle"),
            (npz(points=CLOUD)[:200], "broken"),
            (npz(a=CLOUD, b=CLOUD), "called 'points'"),
            (npz(points=CLOUD, normals=NORMALS[:4]), r"shapes \(n, 3\)"),
            (b"OFF\n5 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "the OFF file is broken"),
            (b"OFF\n3 1 0\n0 0 0\n0 0 0\n0 0 0\n3 0 1 2\n", "area"),
            (mesh("ply")[:300], "the PLY file is broken"),
            (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 -4\n", "index -4 after 3"),
            (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 -a\n", "index -a after 3"),
        ],
    )
    def test_what_is_no_cloud_is_an_error(self, encoded, reason):
        with pytest.raises(ValueError, match=reason):
            decode_points(encoded, 10)


def example(points=CENTERED, seed=0):
    return {
        "points": tf.constant(points, tf.float32),
        "seed": tf.constant([seed, 1], tf.int64),
    }


class TestOps:
    @pytest.mark.parametrize("count", [7, 50, 120])
    @pytest.mark.parametrize("take", [point_ops.take_at_random, point_ops.take_evenly])
    def test_taking_points(self, take, count):
        own = {tuple(row) for row in CENTERED.tolist()}
        for repeat in (False, True):
            taken = take(count, repeat)(example())["points"].numpy()
            assert len(taken) == (count if repeat else min(count, 50))
            rows = {tuple(row) for row in taken.tolist()}
            assert rows <= own and len(rows) == min(count, 50)

    def test_random_points_follow_from_the_seed(self):
        take = point_ops.take_at_random(20, repeat=True)
        first, again, other = (
            take(example(seed=seed))["points"].numpy() for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()

    @pytest.mark.parametrize("repeat", [False, True])
    def test_dropping_points(self, repeat):
        drop = point_ops.drop_at_random(0.5, repeat)
        kept = []
        for seed in range(60):
            points = drop(example(seed=seed))["points"].numpy()
            count = len({tuple(row) for row in points.tolist()})
            assert len(points) == (50 if repeat else count)
            np.testing.assert_array_equal(points[:count], CENTERED[:count])
            kept.append(count)
        assert 25 <= min(kept) < 30 and 45 < max(kept) <= 50
        one = example(CENTERED[:1])
        assert len(point_ops.drop_at_random(0.99, repeat)(one)["points"]) == 1

    def test_normalize(self):
        cloud = np.hstack([CLOUD * 7 + 3, NORMALS])
        points = point_ops.normalize()(example(cloud))["points"].numpy()
        np.testing.assert_allclose(points[:, :3].mean(axis=0), 0, atol=1e-6)
        assert np.abs(points[:, :3]).max() == pytest.approx(1)
        np.testing.assert_allclose(points[:, 3:], NORMALS, rtol=1e-6)
        ratio = points[:, :3] / CENTERED
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)
        one = point_ops.normalize()(example(np.ones((1, 3))))["points"].numpy()
        np.testing.assert_array_equal(one, np.zeros((1, 3)))

    def test_scale_each_moves_points_along_their_rays(self):
        points = point_ops.scale_each(0.5, 2)(example())["points"].numpy()
        ratio = points / CENTERED
        np.testing.assert_allclose(ratio, ratio[:, :1].repeat(3, axis=1), rtol=1e-4)
        assert 0.5 <= ratio.min() < 0.8 and 1.7 < ratio.max() <= 2

    @pytest.mark.parametrize("axis", point_ops.ROTATIONS)
    def test_rotations(self, axis):
        cloud = np.hstack([CENTERED, NORMALS, np.ones((50, 1))])
        turned = point_ops.rotate(axis, normals=True)(example(cloud))["points"].numpy()
        matrix = np.linalg.lstsq(CENTERED, turned[:, :3], rcond=None)[0]
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-5)
        assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(turned[:, 3:6], NORMALS @ matrix, atol=1e-5)
        assert (turned[:, 6] == 1).all()
        if axis != "any":
            fixed = np.eye(3)["xyz".index(axis)]
            np.testing.assert_allclose(fixed @ matrix, fixed, atol=1e-6)
        other = point_ops.rotate(axis)(example(cloud, seed=5))["points"].numpy()
        assert np.abs(other[:, :3] - turned[:, :3]).max() > 0.1
        np.testing.assert_allclose(other[:, 3:6], NORMALS, rtol=1e-6)

    def test_a_cloud_is_aligned_alike_from_every_direction(self):
        cloud = np.hstack([CLOUD * [1, 4, 2], NORMALS])
        align = point_ops.align(normals=True)
        expected = align(example(cloud))["points"].numpy()
        assert (np.diff(expected[:, :3].std(axis=0)) < 0).all()
        covariance = np.cov(expected[:, :3].T)
        scale = np.abs(covariance).max()
        np.testing.assert_allclose(
            covariance, np.diag(covariance.diagonal()), atol=1e-5 * scale
        )
        for number in range(5):
            turned = point_ops.rotate("any", normals=True)(example(cloud, seed=number))
            np.testing.assert_allclose(align(turned)["points"], expected, atol=1e-3)
        # It turns, and never mirrors.
        matrix = np.linalg.lstsq(
            cloud[:, :3] - cloud[:, :3].mean(axis=0),
            expected[:, :3] - expected[:, :3].mean(axis=0),
            rcond=None,
        )[0]
        assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-4)

    def test_any_rotation_goes_everywhere_alike(self):
        pole = np.array([[0, 0, 1]])
        turn = tf.function(
            lambda seed: point_ops.rotate("any")({**example(pole), "seed": seed})[
                "points"
            ]
        )
        seeds = [tf.constant([number, 2], tf.int64) for number in range(600)]
        places = np.concatenate([turn(seed).numpy() for seed in seeds])
        # Uniform on a sphere: each coordinate has a mean of 0 and a variance of 1/3.
        np.testing.assert_allclose(places.mean(axis=0), 0, atol=0.08)
        np.testing.assert_allclose(places.var(axis=0), 1 / 3, atol=0.05)

    def test_jitter(self):
        points = point_ops.jitter(0.1)(example())["points"].numpy()
        assert np.std(points - CENTERED) == pytest.approx(0.1, rel=0.2)

    def test_pad(self):
        padded = point_ops.pad(60)(example())
        assert padded["points_mask"].numpy().tolist() == [True] * 50 + [False] * 10
        assert (padded["points"].numpy()[50:] == 0).all()


@pytest.fixture
def folder(tmp_path):
    """Two classes of eight files, with 20 to 27 points and normals."""
    random = np.random.RandomState(1)
    for label in ("chair", "table"):
        (tmp_path / label).mkdir()
        for number in range(8):
            cloud = random.standard_normal((20 + number, 6))
            cloud[:, 3:] /= np.linalg.norm(cloud[:, 3:], axis=1, keepdims=True)
            np.save(tmp_path / label / f"{number}.npy", cloud)

    def load(split="train", **fractions):
        spec = f"folder:{tmp_path}"
        return load_source(spec, split, modality="points", **fractions)

    return tmp_path, load


class TestRecipe:
    def test_fields_are_found(self, folder):
        path, load = folder
        source = load(**ALL)
        recipe = PointsRecipe.from_source(source)
        assert recipe == PointsRecipe(
            num_points=27, num_features=3, normals=True, use_mask=True
        )
        assert "up to 27 points" in recipe.describe()
        recipe = PointsRecipe.from_source(source, num_points=20, num_features=None)
        assert recipe == PointsRecipe(num_points=20, num_features=3, normals=True)
        assert recipe.inputs == "points"
        np.savetxt(path / "chair" / "a.xyz", CLOUD)
        recipe = PointsRecipe.from_source(load(**ALL))
        assert (recipe.num_features, recipe.normals) == (0, False)
        save_recipe(recipe, ["chair", "table"], path / "pipeline.json")
        assert load_recipe(path / "pipeline.json") == (recipe, ["chair", "table"])

    @pytest.mark.parametrize(
        "rotation, align", [("any", True), ("z", False), ("none", False)]
    )
    def test_whether_clouds_lie_in_any_direction_is_found(self, rotation, align):
        rng = np.random.default_rng(0)
        sizes = rng.uniform(0.3, 1, (40, 1, 3)) * [1, 1, 2]
        clouds = (rng.uniform(-1, 1, (40, 300, 3)) * sizes).astype("float32")
        if rotation != "none":
            turn = point_ops.rotate(rotation)
            clouds = [
                turn({"points": cloud, "seed": tf.constant([7, i])})["points"]
                for i, cloud in enumerate(clouds)
            ]
        source = source_from_columns(
            {"points": np.stack(clouds)}, np.zeros(40, int), classes=("box",), name="a"
        )
        recipe = PointsRecipe.from_source(source)
        assert recipe.align is align
        assert ("principal axes" in recipe.describe()) is align
        assert not PointsRecipe.from_source(source, align=False).align

    @pytest.mark.parametrize("num_points", [10, 25])
    def test_batches(self, folder, num_points):
        _, load = folder
        source = load()
        recipe = PointsRecipe.from_source(source, num_points=num_points)
        assert recipe.use_mask == (num_points == 25)
        kwargs = {"rotation": "any", "scale": 0.01, "jitter_std": 0.01, "dropout": 0.3}
        runs = [
            recipe.train_dataset(source, batch_size=4, seed=0, cache=cache, **kwargs)
            for cache in (False, True)
        ]
        shape = (4, num_points, 6)
        for (inputs, labels), (again, _) in zip(
            *(run.take(4) for run in runs), strict=True
        ):
            tf.nest.map_structure(np.testing.assert_array_equal, inputs, again)
            points = inputs["points"] if recipe.use_mask else inputs
            assert points.shape == shape and labels.shape == (4,)
            lengths = np.linalg.norm(points[..., 3:], axis=-1)
            kept = inputs["points_mask"] if recipe.use_mask else lengths > 0
            np.testing.assert_allclose(lengths, kept, atol=1e-5)

    def test_preprocess_is_evaluation(self, folder):
        _, load = folder
        source = load("test")
        recipe = PointsRecipe.from_source(load())
        ((inputs, _),) = recipe.eval_dataset(source, batch_size=100)
        paths = [item["path"].numpy() for item in source.dataset]
        arrays = [np.load(path) for path in paths]
        for items in (paths, arrays):
            again = recipe.preprocess(items)
            assert again.keys() == inputs.keys()
            for key, values in again.items():
                np.testing.assert_allclose(values, inputs[key], atol=1e-6)

    def test_a_mesh_is_the_same_input_wherever_it_is_read(self, tmp_path):
        for number in range(4):
            path = tmp_path / "ab"[number % 2] / f"{number}.off"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(mesh("off") + b"\n" * number)
        spec = f"folder:{tmp_path}"
        source = load_source(spec, "train", modality="points", **ALL)
        recipe = PointsRecipe.from_source(source)
        assert recipe == PointsRecipe(num_points=1024)
        recipe = PointsRecipe(num_points=100)
        ((inputs, _),) = recipe.eval_dataset(source, batch_size=4)
        for item, cloud in zip(source.dataset, inputs, strict=True):
            (alone,) = recipe.preprocess([item["path"].numpy()])
            np.testing.assert_array_equal(alone, cloud)

    @pytest.mark.parametrize(
        "content, reason",
        [
            (b"", "it holds no points"),
            (b"Dear reader,", "it is neither NPY"),
            (npy(CLOUD), "it has 0 features beside its coordinates where 3"),
        ],
    )
    def test_a_broken_file_is_named(self, folder, content, reason):
        path, load = folder
        recipe = PointsRecipe.from_source(load())
        broken = path / "chair" / "3.npy"
        broken.write_bytes(content)
        sentence = f"Cannot decode point cloud '{broken}': {reason}"
        source = load(**ALL)
        with pytest.raises(ValueError, match=sentence):
            recipe.preprocess([broken])
        with pytest.raises(ValueError, match=sentence):
            with recipe.readable_errors(source):
                list(recipe.eval_dataset(source, batch_size=4))
        if not content:
            with pytest.raises(ValueError, match=sentence):
                PointsRecipe.from_source(source)

    @pytest.mark.parametrize(
        "call, message",
        [
            (lambda: PointsRecipe(num_points=0), "num_points=0"),
            (lambda: PointsRecipe(num_points=1, num_features=-1), "num_features=-1"),
            (lambda: PointsRecipe(num_points=1, normals=True), "num_features=0"),
            (lambda: PointsRecipe(num_points=1, use_mask="yes"), "use_mask='yes'"),
            (lambda: RECIPE.training_ops(rotation="w"), "rotation='w'"),
            (lambda: RECIPE.training_ops(scale=1), "scale=1"),
            (lambda: RECIPE.training_ops(jitter_std=-1), "jitter_std=-1"),
            (lambda: RECIPE.training_ops(dropout=1.0), "dropout=1.0"),
            (
                lambda: RECIPE.preprocess(CLOUD),
                r"as points\[None\]",
            ),
            (lambda: RECIPE.preprocess([CLOUD[:, :2]]), r"Received: shape=\(50, 2\)"),
            (lambda: RECIPE.preprocess([CLOUD[:0]]), "no points"),
        ],
    )
    def test_bad_arguments(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()


RECIPE = PointsRecipe(num_points=8)
ALL = {"validation_fraction": 0, "test_fraction": 0}


class TestSolids:
    def test_splits(self):
        sources = {
            split: load_source("builtin:solids", split, modality="points")
            for split in ("validation", "test")
        }
        assert sources["validation"].num_items == 400
        assert sources["test"].num_items == 1000
        assert sources["test"].classes == tuple(SOLIDS)
        ((test, labels),) = RECIPE.eval_dataset(sources["test"], batch_size=1000)
        assert np.bincount(labels).tolist() == [100] * 10
        clouds = [
            {item["points"].tobytes() for item in source.dataset.as_numpy_iterator()}
            for source in sources.values()
        ]
        assert len(set.union(*clouds)) == 1400
        other = load_source("builtin:solids", "test", modality="points", seed=7)
        ((again, _),) = RECIPE.eval_dataset(other, batch_size=1000)
        np.testing.assert_array_equal(test, again)

    def test_training_and_validation_are_400_of_each(self):
        # As generated, without the time to generate them.
        from pipelines.sources.splits import SplitRule, stratified_split

        labels = np.repeat(np.arange(10), 400)
        rule = SplitRule(0, 0.1, 0)
        train = stratified_split(labels, "train", rule, tuple(SOLIDS))
        validation = stratified_split(labels, "validation", rule, tuple(SOLIDS))
        assert len(train) == 3600 and len(validation) == 400
        assert not set(train) & set(validation)

    def test_surfaces_are_closed(self):
        from pipelines.sources.solids import turn

        for name, solid in SOLIDS.items():
            vertices, faces = turn(*solid)
            surface = trimesh.Trimesh(vertices, faces)  # Merges equal vertices.
            surface.update_faces(surface.nondegenerate_faces())
            assert surface.is_watertight, name
            assert surface.is_winding_consistent, name
        sphere = trimesh.Trimesh(*turn(*SOLIDS["sphere"]))
        assert abs(sphere.volume) == pytest.approx(4 / 3 * np.pi, rel=0.02)

    def test_of_another_modality(self):
        with pytest.raises(ValueError, match="'points'. Received: modality='text'"):
            load_source("builtin:solids", "test", modality="text")

    def test_needs_numpy_alone(self):
        code = (
            "import sys; sys.modules['trimesh'] = None; "
            "import pipelines.point_files as f; import numpy as np; "
            "print(f.decode_points(b'1 2 3', 1)); "
            "f.decode_points(b'OFF', 1)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True
        )
        assert "[[0. 0. 0.]]" in done.stdout
        assert "pip install trimesh" in done.stderr
