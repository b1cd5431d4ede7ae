"""The image recipe: from a source to the batches that a model sees."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

from pipelines.image import ImageRecipe
from pipelines.recipes import find_recipe, load_recipe, save_recipe
from pipelines.sources import load_source, source_from_arrays

FIELDS = {"image_size", "channels", "crop", "value_range"}
PHOTOS = load_sample_images().images  # china.jpg, flower.jpg: uint8 (427, 640, 3)


@pytest.fixture(scope="module")
def mnist():
    return load_source("builtin:mnist5k", "validation")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of JPEGs of different sizes, cut out of two photos."""
    folder = tmp_path_factory.mktemp("photos")
    for name, photo in zip(("china", "flower"), PHOTOS, strict=True):
        (folder / name).mkdir()
        for number in range(8):
            cut = Image.fromarray(photo[20 * number :, : 300 + number])
            cut.save(folder / name / f"{number}.jpg")
    return folder


def photo_source(photos, split="train"):
    return load_source(f"folder:{photos}", split)


@pytest.mark.parametrize("crop", ["resize", "central", "inception"])
@pytest.mark.parametrize("channels", [1, 3])
def test_train_dataset(photos, crop, channels):
    source = photo_source(photos)

    def first(seed, count=4, **kwargs):
        recipe = ImageRecipe(image_size=(24, 32), channels=channels, crop=crop)
        dataset = recipe.train_dataset(
            source,
            batch_size=5,
            seed=seed,
            shift_pixels=2,
            flip=True,
            rand_augment_layers=2 if channels == 3 else 0,
            brightness=0.2,
            contrast=0.2,
            saturation=0.2,
            hue=0.1,
            **kwargs,
        )
        assert dataset.element_spec == (
            tf.TensorSpec((5, 24, 32, channels), tf.float32),
            tf.TensorSpec((5,), tf.int32),
        )
        return np.stack([x for x, _ in dataset.take(count)])

    batches = first(0)
    assert -1 <= batches.min() < -0.5 and 0.5 < batches.max() <= 1
    np.testing.assert_array_equal(batches, first(0))
    assert (batches != first(1)).any()
    np.testing.assert_array_equal(batches[2:], first(0, 2, start_step=2))
    assert (batches[:2] != batches[2:]).any()
    if crop != "inception":
        np.testing.assert_allclose(batches, first(0, cache=True), atol=1e-6)


def test_caching_changes_next_to_nothing_of_random_boxes(photos):
    recipe = ImageRecipe(image_size=(24, 32), channels=3, crop="inception")
    source = photo_source(photos)
    decoded, of_the_box = (
        next(iter(recipe.train_dataset(source, batch_size=8, seed=0, cache=cache)))[0]
        for cache in (True, False)
    )
    # Decoding only the box of a JPEG blends the colours at its border differently.
    assert np.abs(decoded - of_the_box).mean() < 0.005


@pytest.mark.parametrize(
    "augmentation",
    [
        {"rand_augment_layers": 4},
        {"rand_augment_layers": 1, "rand_augment_magnitude": 10.0},
        {"brightness": 0.3},
        {"contrast": 0.3},
        {"saturation": 0.3},
        {"hue": 0.2},
    ],
)
def test_each_augmentation_changes_the_images(photos, augmentation):
    recipe = ImageRecipe(image_size=(24, 32), channels=3)
    source = photo_source(photos)
    plain, changed = (
        next(iter(recipe.train_dataset(source, batch_size=8, seed=0, **kwargs)))[0]
        for kwargs in ({}, augmentation)
    )
    assert -1 <= np.min(changed) and np.max(changed) <= 1
    assert np.abs(plain - changed).mean() > 0.01


def test_central_crops_are_the_evaluation_of_inception(photos):
    source = photo_source(photos, "test")
    central, inception = (
        ImageRecipe(image_size=(24, 20), channels=3, crop=crop)
        for crop in ("central", "inception")
    )
    ((expected, _),) = inception.eval_dataset(source, batch_size=99)
    ((found, _),) = central.eval_dataset(source, batch_size=99)
    np.testing.assert_array_equal(found, expected)
    count = source.num_items
    (trained, _), *_ = central.train_dataset(source, batch_size=count, seed=0).take(1)
    for image in trained:
        assert min(np.abs(image - other).max() for other in expected) < 1e-6


def test_evaluation_covers_each_digit_unchanged(mnist):
    recipe = ImageRecipe(image_size=(28, 28), channels=1, value_range=(0, 255))
    dataset = recipe.eval_dataset(mnist, batch_size=150)
    assert dataset.element_spec[0] == tf.TensorSpec((None, 28, 28, 1), tf.float32)
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    assert [len(batch) for batch in images] == [150, 150, 100]
    items = list(mnist.dataset.as_numpy_iterator())
    np.testing.assert_array_equal(
        np.concatenate(labels), [item["label"] for item in items]
    )
    np.testing.assert_allclose(
        np.concatenate(images), [item["image"] for item in items], atol=1e-3
    )


@pytest.mark.parametrize("crop", ["resize", "inception"])
@pytest.mark.parametrize("channels", [1, 3])
def test_preprocess_is_the_evaluation(photos, mnist, crop, channels):
    recipe = ImageRecipe(image_size=(24, 20), channels=channels, crop=crop)
    source = photo_source(photos, "test")
    (expected, _), *_ = recipe.eval_dataset(source, batch_size=99)
    paths = [item["path"] for item in source.dataset.as_numpy_iterator()]
    batch = recipe.preprocess(paths)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, expected)

    (expected, _), *_ = recipe.eval_dataset(mnist, batch_size=9)
    items = mnist.dataset.take(9).as_numpy_iterator()
    digits = np.stack([item["image"] for item in items])
    np.testing.assert_array_equal(recipe.preprocess(digits), expected)
    np.testing.assert_array_equal(recipe.preprocess(list(digits[..., 0])), expected)


def test_preprocess_mixes_paths_and_arrays(photos):
    path = photos / "china" / "0.jpg"
    pixels = np.asarray(Image.open(path))
    mixed = [path, str(path), pixels, pixels / 255.0]
    batch = ImageRecipe(image_size=(8, 8), channels=3).preprocess(mixed)
    for other in batch[1:]:
        np.testing.assert_allclose(other, batch[0], atol=1 / 127)


def test_preprocess_errors(tmp_path):
    recipe = ImageRecipe(image_size=(8, 8), channels=3)
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(ValueError, match=f"Cannot decode image '{text}': Unknown"):
        recipe.preprocess([text])
    with pytest.raises(ValueError, match="Cannot decode image '.*gone.png': No such"):
        recipe.preprocess([str(tmp_path / "gone.png")])
    with pytest.raises(ValueError, match="must be a sequence.* Received: 'a.png'"):
        recipe.preprocess("a.png")
    with pytest.raises(ValueError, match="must not be empty"):
        recipe.preprocess([])
    with pytest.raises(ValueError, match=r"image\[None\]. Received: shape=\(9, 8, 3\)"):
        recipe.preprocess(PHOTOS[0][:9, :8])
    with pytest.raises(ValueError, match="dtype=int64"):
        recipe.preprocess([np.zeros((3, 3), np.int64)])
    with pytest.raises(ValueError, match=r"shape=\(1, 2, 3, 3\)"):
        recipe.preprocess([np.zeros((1, 2, 3, 3))])


def found(source, **given):
    recipe = ImageRecipe.from_source(source, **given)
    return (*recipe.image_size, recipe.channels)


class TestFromSource:
    def test_shared_size(self, mnist):
        assert found(mnist) == (28, 28, 1)
        source = source_from_arrays(np.stack(PHOTOS), [0, 1])
        assert found(source) == (48, 48, 3)

    def test_what_is_given_stays(self, mnist):
        assert found(mnist, image_size=(9, 7), channels=None) == (9, 7, 1)
        assert found(mnist, image_size=[9, 7], channels=3) == (9, 7, 3)

    def test_sizes_that_differ(self, photos):
        assert found(photo_source(photos)) == (48, 48, 3)

    @pytest.mark.parametrize("modes, channels", [(["L", "LA"], 1), (["L", "RGB"], 3)])
    def test_channels(self, tmp_path, modes, channels):
        for mode in modes:
            (tmp_path / mode).mkdir()
            for number in range(3):
                picture = Image.fromarray(PHOTOS[0][:9, :7]).convert(mode)
                picture.save(tmp_path / mode / f"{number}.png")
        source = load_source(f"folder:{tmp_path}", "train")
        assert found(source) == (9, 7, channels)

    def test_broken_file(self, tmp_path):
        for name in "ab":
            (tmp_path / name).mkdir()
            for number in range(3):
                (tmp_path / name / f"{number}.gif").write_bytes(b"GIF89a")
        source = load_source(f"folder:{tmp_path}", "train")
        with pytest.raises(ValueError, match="Cannot decode image '.*.gif': Invalid"):
            found(source)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"image_size": 28}, "Received: image_size=28"),
        ({"image_size": (28, 0)}, "Received: image_size=0"),
        ({"image_size": (28, 28.0)}, "Received: image_size=28.0"),
        ({"channels": 2}, "one of 1, 3. Received: channels=2"),
        ({"crop": "center"}, "'central', 'inception'. Received: crop='center'"),
        ({"shift_pixels": -1}, "Received: shift_pixels=-1"),
        ({"shift_pixels": 28}, r"\(28, 30\). Received: shift_pixels=28"),
        ({"rand_augment_layers": -1}, "Received: rand_augment_layers=-1"),
        (
            {"rand_augment_magnitude": 31},
            r"in \[0, 30\]. Received: rand_augment_magnitude=31",
        ),
        ({"brightness": 1.0}, r"in \[0, 1\). Received: brightness=1.0"),
        ({"hue": 0.6}, r"finite number in \[0, 0.5\]. Received: hue=0.6"),
        ({"value_range": (1, 0)}, r"Received: value_range=\(1, 0\)"),
        ({"value_range": (0, float("inf"))}, r"Received: value_range=\(0, inf\)"),
        ({"value_range": 1}, "Received: value_range=1"),
        ({"batch_size": 1000}, "400 training examples"),
    ],
)
def test_bad_arguments(mnist, kwargs, message):
    fields = {"image_size": (28, 30), "channels": 1}
    fields |= {name: kwargs[name] for name in kwargs if name in FIELDS}
    training = {name: kwargs[name] for name in kwargs if name not in FIELDS}
    with pytest.raises(ValueError, match=message):
        recipe = ImageRecipe(**fields)
        recipe.train_dataset(mnist, **{"batch_size": 8, "seed": 0, **training})


def test_a_recipe_is_written_beside_a_model_and_read_again(tmp_path):
    recipe = ImageRecipe(image_size=(9, 7), channels=3, crop="inception")
    assert recipe.describe() == "images of 9 x 7 x 3"
    save_recipe(recipe, ["cat", "dog"], tmp_path / "pipeline.json")
    assert load_recipe(tmp_path / "pipeline.json") == (recipe, ["cat", "dog"])
    (tmp_path / "other.json").write_text("{}")
    for name in ("other.json", "gone.json"):
        with pytest.raises(ValueError, match=f"Received: file='.*{name}'"):
            load_recipe(tmp_path / name)
    with pytest.raises(ValueError, match="Received: modality='smell'"):
        find_recipe("smell")


def test_pipelines_know_no_model():
    code = (
        "import sys, pipelines.image, pipelines.sources;"
        "assert not {'keras_perceiver', 'mlxtend', 'tensorflow_datasets'} "
        "& set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
