"""RandAugment: operations as PIL has them, drawn from the seed alone."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_images

from pipelines import rand_augment

CHINA, FLOWER = load_sample_images().images  # uint8 (427, 640, 3)
# Of many colours, of few and dark ones, with odd sides, and of one colour.
IMAGES = {
    "photo": FLOWER[:224, :224],
    "dim": CHINA[::4, ::4] // 3 + 20,
    "narrow": CHINA[100:171, 50:103],
    "flat": np.full((20, 30, 3), 77, np.uint8),
}
GREY = (128, 128, 128)


def difference(image, expected):
    return np.abs(np.asarray(image, int) - np.asarray(expected, int))


@pytest.fixture(params=IMAGES)
def image(request):
    return IMAGES[request.param]


class TestAsPillowHasIt:
    @pytest.mark.parametrize("name", ["autocontrast", "equalize", "invert"])
    def test_without_a_strength(self, image, name):
        expected = getattr(ImageOps, name)(Image.fromarray(image))
        result = getattr(rand_augment, name)(tf.constant(image))
        assert result.dtype == tf.uint8
        assert difference(result, expected).max() <= (name == "autocontrast")

    @pytest.mark.parametrize(
        "name, strengths",
        [("posterize", (1, 2, 4, 8)), ("solarize", (0, 64, 128, 256))],
    )
    def test_of_values(self, image, name, strengths):
        for strength in strengths:
            expected = getattr(ImageOps, name)(Image.fromarray(image), strength)
            result = getattr(rand_augment, name)(tf.constant(image), strength)
            assert result.dtype == tf.uint8
            np.testing.assert_array_equal(result, expected)

    @pytest.mark.parametrize("name", ["color", "contrast", "brightness", "sharpness"])
    @pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 1.9])
    def test_enhancements(self, image, name, factor):
        enhance = getattr(ImageEnhance, name.capitalize())
        expected = enhance(Image.fromarray(image)).enhance(factor)
        result = getattr(rand_augment, name)(tf.constant(image), factor)
        assert result.dtype == tf.uint8
        assert difference(result, expected).max() <= 1

    def test_grey_images(self, image):
        grey = Image.fromarray(image).convert("L")
        pixels = tf.constant(np.asarray(grey)[..., None])
        pairs = [
            (rand_augment.equalize(pixels), ImageOps.equalize(grey)),
            (rand_augment.contrast(pixels, 1.9), ImageEnhance.Contrast(grey)),
            (rand_augment.sharpness(pixels, 1.9), ImageEnhance.Sharpness(grey)),
            (rand_augment.color(pixels, 1.9), grey),
        ]
        for result, expected in pairs:
            if hasattr(expected, "enhance"):
                expected = expected.enhance(1.9)
            assert result.shape == pixels.shape
            assert difference(result[..., 0], expected).max() <= 1

    @pytest.mark.parametrize("name", ["photo", "narrow"])
    def test_geometry(self, name):
        image = IMAGES[name]
        picture = Image.fromarray(image)

        def affine(*rows):
            return picture.transform(
                picture.size, Image.Transform.AFFINE, rows, fillcolor=GREY
            )

        pixels = tf.constant(image)
        # PIL shears about the corner of the first pixel, and we about its centre: half
        # a slope. Where two pixels are equally near, either will do.
        for result, expected, share in [
            (rand_augment.rotate(pixels, 15.0), picture.rotate(15, fillcolor=GREY), 1),
            (
                rand_augment.rotate(pixels, -30.0),
                picture.rotate(-30, fillcolor=GREY),
                1,
            ),
            (rand_augment.shear_x(pixels, 0.13), affine(1, 0.13, -0.065, 0, 1, 0), 2),
            (rand_augment.shear_y(pixels, -0.27), affine(1, 0, 0, -0.27, 1, 0.135), 2),
            (rand_augment.translate_x(pixels, 20.0), affine(1, 0, 20, 0, 1, 0), 0),
            (rand_augment.translate_y(pixels, -9.0), affine(1, 0, 0, 0, 1, -9), 0),
        ]:
            differ = difference(result, expected).max(axis=-1) > 0
            assert result.dtype == tf.uint8
            assert 100 * differ.mean() <= share


def test_solarize_add():
    values = tf.reshape(tf.range(256), (16, 16, 1))
    result = rand_augment.solarize_add(tf.cast(values, tf.uint8), 110)
    expected = [value + 110 if value < 128 else value for value in range(256)]
    np.testing.assert_array_equal(np.ravel(result), expected)


def test_cutout_paints_a_square_and_nothing_else():
    image = tf.zeros((40, 60, 3), tf.uint8)
    result = rand_augment.cutout(image, tf.constant([0.5, 0.999]), 10).numpy()
    expected = np.zeros((40, 60, 3))
    expected[10:30, 49:] = 128
    np.testing.assert_array_equal(result, expected)


def test_strengths_are_those_of_the_published_code():
    image = tf.constant(FLOWER[:224, :224])
    place = tf.constant([0.5, 0.5])
    for sign in (-1.0, 1.0):
        draw = rand_augment._Draw(tf.constant(sign), place)
        found = [
            operation(image, draw)
            for operation in rand_augment._operations(0.5, tf.constant(224))
        ]
        expected = [
            rand_augment.autocontrast(image),
            rand_augment.equalize(image),
            rand_augment.invert(image),
            rand_augment.rotate(image, sign * 15),
            rand_augment.posterize(image, 2),
            rand_augment.solarize(image, 128),
            rand_augment.solarize_add(image, 55),
            # At magnitude 5 the enhancements do nothing.
            *[image] * 4,
            rand_augment.shear_x(image, sign * 0.15),
            rand_augment.shear_y(image, sign * 0.15),
            rand_augment.translate_x(image, sign * 50),
            rand_augment.translate_y(image, sign * 50),
            rand_augment.cutout(image, place, 20),
        ]
        for one, other in zip(found, expected, strict=True):
            assert difference(one, other).max() <= 1
            np.testing.assert_array_equal(one.shape, image.shape)


class TestStep:
    def test_is_the_same_in_tf_data_and_keeps_shape_and_kind(self):
        image = IMAGES["photo"]
        op = rand_augment.rand_augment()
        seeds = tf.data.Dataset.range(12).map(lambda n: tf.stack([n, 7]))
        mapped = seeds.map(lambda seed: op({"image": image, "seed": seed})["image"])
        assert mapped.element_spec == tf.TensorSpec(image.shape, tf.uint8)
        results = list(mapped.as_numpy_iterator())
        for seed, result in zip(seeds, results, strict=True):
            alone = op({"image": tf.constant(image), "seed": seed})["image"]
            np.testing.assert_array_equal(alone, result)
        assert len({result.tobytes() for result in results}) > 10
        floats = tf.constant(image.astype(np.float32) / 255)
        alone = op({"image": floats, "seed": tf.constant([0, 7], tf.int64)})["image"]
        np.testing.assert_array_equal(alone, results[0])

    def test_draws_every_operation_alike(self, monkeypatch):
        count = 16
        chosen = [
            lambda image, _, number=number: tf.fill(
                image.shape, tf.cast(number, tf.uint8)
            )
            for number in range(count)
        ]
        monkeypatch.setattr(rand_augment, "_operations", lambda *_: chosen)
        op = rand_augment.rand_augment(num_layers=1)
        image = tf.zeros((1, 1, 1), tf.uint8)
        seeds = tf.data.Dataset.range(1600).map(lambda n: tf.stack([n, 3]))
        drawn = seeds.map(lambda seed: op({"image": image, "seed": seed})["image"])
        counts = np.bincount(np.ravel(list(drawn)), minlength=count)
        assert len(counts) == count and 60 < counts.min() and counts.max() < 145

    @pytest.mark.parametrize("magnitude", [0, 3.5, 10, 30])
    def test_magnitudes(self, magnitude):
        draw = rand_augment._Draw(tf.constant(1.0), tf.constant([0.3, 0.6]))
        image = tf.constant(IMAGES["narrow"])
        for operation in rand_augment._operations(magnitude / 10, tf.constant(53)):
            result = operation(image, draw)
            assert result.shape == image.shape and result.dtype == tf.uint8
