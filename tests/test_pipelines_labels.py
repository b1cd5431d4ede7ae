"""Labels: lists of them in a file, as vectors, and mixed in batches."""

import os
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.audio import AudioRecipe
from pipelines.image import ImageRecipe
from pipelines.mixing import mix
from pipelines.sources import SPLITS, load_source, source_from_arrays
from pipelines.text import TextRecipe


@pytest.fixture
def labelled(tmp_path):
    """A function that writes the lines of `labels.csv`, with their pictures."""

    def write(*lines, header="file,labels", encoding="utf-8"):
        for line in lines:
            path = tmp_path / line.partition(",")[0].strip()
            if path.suffix == ".png" and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)
        text = "".join(f"{line}\n" for line in (header, *lines))
        (tmp_path / "labels.csv").write_text(text, encoding=encoding)
        return f"folder:{tmp_path}"

    return write


def items(source):
    """Labels by the names of the files, without those that lead to them."""
    return {
        os.path.basename(item["path"]).decode(): item["label"].tolist()
        for item in source.dataset.as_numpy_iterator()
    }


class TestLabelsFile:
    def test_several_labels(self, labelled):
        spec = labelled(
            *(f"deep/er/{i}.png, dog;  cat" for i in range(5)),
            *(f"{i}.png,cat" for i in range(5, 10)),
            *(f"{i}.png," for i in range(10, 20)),
        )
        sources = {split: load_source(spec, split) for split in SPLITS}
        assert [sources[split].num_items for split in SPLITS] == [14, 2, 4]
        found = {}
        for source in sources.values():
            assert source.multi_label and source.classes == ("cat", "dog")
            spec_ = source.dataset.element_spec["label"]
            assert spec_ == tf.TensorSpec((2,), tf.float32)
            found |= items(source)
        expected = {f"{i}.png": [float(i < 10), float(i < 5)] for i in range(20)}
        assert found == expected
        again, other = (load_source(spec, "test", seed=seed) for seed in (0, 1))
        assert items(again) == items(sources["test"]) != items(other)

    def test_one_label_each_is_stratified(self, labelled):
        # As spreadsheets write it.
        spec = labelled(
            *(f"{i}.png,{'ab'[i < 5]}" for i in range(20)), encoding="utf-8-sig"
        )
        for split, counts in zip(SPLITS, ([11, 3], [1, 1], [3, 1]), strict=True):
            source = load_source(spec, split)
            assert not source.multi_label and source.classes == ("a", "b")
            labels = items(source)
            assert np.bincount(list(labels.values())).tolist() == counts
            for name, label in labels.items():
                assert label == (int(name.partition(".")[0]) < 5)

    def test_a_column_of_splits(self, labelled):
        rows = [f"{i}.png,{'ab'[i % 2]},train" for i in range(20)]
        rows += ["20.png,b,Val", "21.png,b,TEST", "22.png,a,test"]
        header = "file,labels,split"
        spec = labelled(*rows, header=header)
        assert list(items(load_source(spec, "validation"))) == ["20.png"]
        assert items(load_source(spec, "test")) == {"21.png": 1, "22.png": 0}
        assert load_source(spec, "train").num_items == 20

    def test_a_validation_alone_is_the_test(self, labelled):
        rows = [f"{i}.png,{'ab'[i % 2]},train" for i in range(20)]
        spec = labelled(*rows, "20.png,b,valid", header="file,labels,split")
        assert list(items(load_source(spec, "test"))) == ["20.png"]
        assert load_source(spec, "validation").num_items == 2
        assert load_source(spec, "train").num_items == 18

    def test_names_that_are_not_utf8(self, labelled, tmp_path):
        labelled(*(f"{i}.png,{'ab'[i % 2]}" for i in range(8)))
        odd = os.path.join(os.fsencode(tmp_path), b"\xff.png")
        os.rename(tmp_path / "0.png", odd)
        file = tmp_path / "labels.csv"
        file.write_bytes(file.read_bytes().replace(b"0.png,a", b"\xff.png,caf\xe9"))
        source = load_source(
            f"folder:{tmp_path}", "train", validation_fraction=0, test_fraction=0
        )
        assert source.classes == ("a", "b", r"caf\xe9")
        labels = {
            item["path"]: item["label"] for item in source.dataset.as_numpy_iterator()
        }
        assert labels[odd] == 2 and len(labels) == 8

    def test_files_without_a_line_are_counted_in_a_warning(self, labelled, tmp_path):
        spec = labelled(*(f"{i}.png,{'ab'[i % 2]}" for i in range(8)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_source(spec, "train")
        (tmp_path / ".thumbnails").mkdir()
        for name in ("a.png", "z.png", ".hidden.png", ".thumbnails/0.png"):
            (tmp_path / name).touch()
        with pytest.warns(UserWarning, match=r"Ignored 2 images .*csv.*: a.png"):
            load_source(spec, "train")

    def test_labels_too_rare_to_train_are_named(self, labelled):
        spec = labelled(
            *(f"{i}.png,a;{'x' if i == 3 else 'b'}" for i in range(10)),
        )
        for seed in range(9):
            source = load_source(spec, "test", seed=seed, test_fraction=0.5)
            if "3.png" in items(source):
                break
        with pytest.warns(UserWarning, match="1 labels .* too rare .*'x'"):
            load_source(spec, "train", seed=seed, test_fraction=0.5)

    @pytest.mark.parametrize(
        "lines, header, message",
        [
            ([], "", r"labels.csv with the columns \[\]"),
            ([], "file,labels", "labels.csv without any"),
            (["a.png,x"], "image,labels", "with the columns .'image', 'labels'.$"),
            (["a.png,x,1"], "file,labels,weight", "with the columns .*'weight'"),
            (["a.png,x;;y"], "file,labels", "line 2 with 'x;;y'"),
            (["a.png,x", "b.png,y", "c.png,"], "file,labels", "line 4 without one"),
            (["a.png,x", "b.png,x"], "file,labels", "at least two different labels"),
            (["a.png,x", "gone.jpg,y"], "file,labels", "be there.*line 3.*gone.jpg"),
            (["a.png,x", "notes.txt,y"], "file,labels", "of images .JPEG.*notes.txt"),
            (["a.png,x", "./a.png,y"], "file,labels", "line 3 with .* line 2 has"),
            (["a.png,x", ",y"], "file,labels", "name a file.*line 3 without one"),
            (["a.png,x,y"], "file,labels", "2 values.*line 2 with 3"),
            (["a.png,x,dev"], "file,labels,split", "line 2 with 'dev'"),
            (["a.png,x;y,test"], "file,labels,split", "of the split 'train'"),
            (
                ["a.png,x,train", "b.png,y,train", "c.png,z,test"],
                "file,labels,split",
                "in the training data as well.*'z' in other splits alone",
            ),
        ],
    )
    def test_mistakes(self, labelled, lines, header, message):
        spec = labelled(*lines, header=header)
        with pytest.raises(ValueError, match=message):
            load_source(spec, "train")


NUMBERS = np.arange(40)
RECIPE = ImageRecipe(image_size=(5, 7), channels=1, value_range=(0.0, 255.0))


def numbers():
    """Each image is filled with its label."""
    images = np.tile(NUMBERS[:, None, None].astype(np.uint8), (1, 5, 7))
    return source_from_arrays(images, NUMBERS)


def batches(count, **kwargs):
    dataset = RECIPE.train_dataset(numbers(), batch_size=10, seed=0, **kwargs)
    return list(dataset.take(count).as_numpy_iterator())


class TestVectors:
    def test_one_hot_labels_say_what_integers_say(self):
        for (x, label), (y, vector) in zip(
            batches(4), batches(4, one_hot=True), strict=True
        ):
            np.testing.assert_array_equal(x, y)
            np.testing.assert_array_equal(vector, np.eye(40, dtype=np.float32)[label])
        (_, labels), *_ = RECIPE.eval_dataset(numbers(), batch_size=40, one_hot=True)
        np.testing.assert_array_equal(labels, np.eye(40))

    def test_several_labels_stay(self):
        labels = np.random.default_rng(0).integers(0, 2, (40, 3))
        images = np.zeros((40, 5, 7), np.uint8)
        source = source_from_arrays(images, labels)
        for one_hot in (False, True):
            (_, found), *_ = RECIPE.eval_dataset(source, batch_size=40, one_hot=one_hot)
            np.testing.assert_array_equal(found, labels)
            assert found.dtype == tf.float32


class TestMixing:
    @pytest.mark.parametrize(
        "kwargs", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}]
    )
    def test_labels_have_the_shares_of_the_pixels(self, kwargs):
        shares, previous = [], None
        for images, labels in batches(12, **kwargs):
            assert images.shape == (10, 5, 7, 1) and labels.shape == (10, 40)
            np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
            assert ((labels > 0).sum(axis=1) <= 2).all()
            # The mean pixel is the mean number, by whatever means they are mixed.
            np.testing.assert_allclose(
                images.mean(axis=(1, 2, 3)), labels @ NUMBERS, rtol=1e-5, atol=1e-4
            )
            mixed = images != images[:, :1, :1]
            if "mixup" not in kwargs:
                assert mixed.any() and np.isin(images, NUMBERS).all()
            elif "cutmix" not in kwargs:
                assert not mixed.any()
            else:
                assert not mixed[:5].any() and mixed[5:].any()
                assert np.isin(images[5:], NUMBERS).all()
            shares += labels.max(axis=1).tolist()
            assert previous is None or (previous != labels).any()
            previous = labels
        assert len(np.unique(shares)) > 10

    @pytest.mark.parametrize("kwargs", [{}, {"skip_unreadable": True}])
    def test_a_resumed_run_mixes_as_the_whole_one(self, kwargs):
        kwargs = {**kwargs, "mixup": 0.4, "cutmix": 1.0, "shift_pixels": 1}
        whole = batches(12, **kwargs)
        resumed = batches(5, start_step=7, **kwargs)
        for one, other in zip(resumed, whole[7:], strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])

    @pytest.mark.parametrize("alpha, deviation", [(1e-3, 0.5), (1.0, 12**-0.5)])
    def test_shares_are_of_the_beta_distribution(self, alpha, deviation):
        labels = tf.eye(4000)
        _, mixed = mix(tf.zeros((4000, 1)), labels, (0, 1), mixup=alpha)
        shares = tf.linalg.diag_part(mixed).numpy()
        assert abs(shares.mean() - 0.5) < 0.03
        assert abs(shares.std() - deviation) < 0.02

    def test_boxes_are_whole_and_in_all_frames_the_same(self):
        own = np.arange(200, dtype=np.float32)[:, None, None, None, None]
        clips = np.tile(own, (1, 3, 16, 24, 2))
        mixed, labels = mix(tf.constant(clips), tf.eye(200), (3, 4), cutmix=1.0)
        is_other = mixed.numpy() != clips
        assert (is_other == is_other[:, :1, :, :, :1]).all()
        boxes = is_other[:, 0, :, :, 0]
        areas = boxes.mean(axis=(1, 2))
        np.testing.assert_allclose(areas, 1 - np.diag(labels), atol=1e-6)
        rows, columns = boxes.any(axis=2), boxes.any(axis=1)
        np.testing.assert_array_equal(boxes, rows[:, :, None] & columns[:, None])
        for edges in (rows, columns):  # Without gaps.
            assert (np.abs(np.diff(edges.astype(int), axis=1)).sum(axis=1) <= 2).all()
        # A side s keeps s - s^2 / 4 of itself within the edges; s^2 is uniform.
        assert abs(areas.mean() - (1 / 2 - 1 / 5 + 1 / 48)) < 0.04

    def test_dicts_of_inputs_are_mixed_alike(self):
        inputs = {"audio": tf.range(8.0)[:, None], "video": tf.range(8.0) * 2}
        mixed, _ = mix(inputs, tf.eye(8), (0, 0), mixup=1.0)
        np.testing.assert_allclose(mixed["audio"][:, 0] * 2, mixed["video"], rtol=1e-6)

    @pytest.mark.parametrize(
        "recipe, kwargs, message",
        [
            (RECIPE, {"mixup": -1.0}, "`mixup` must be a non-negative number"),
            (RECIPE, {"cutmix": "a"}, "`cutmix` must be a non-negative number"),
            (TextRecipe(length=4), {"mixup": 0.2}, "'text'. Received: mixup=0.2"),
            (
                AudioRecipe(rate=8000, num_samples=80, representation="wave"),
                {"cutmix": 1.0},
                "'audio'. Received: cutmix=1.0",
            ),
        ],
    )
    def test_mistakes(self, recipe, kwargs, message):
        with pytest.raises(ValueError, match=message):
            recipe.train_dataset(numbers(), batch_size=2, seed=0, **kwargs)
