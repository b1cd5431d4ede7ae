"""Image steps: the same eagerly and inside tf.data, and right about pixels."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

from pipelines import image_ops

CHINA = load_sample_images().images[0]  # uint8 (427, 640, 3)
SEED = [3, 5]


def encode(pixels, file_format, **kwargs):
    """Encodes an array or a picture of PIL."""
    if isinstance(pixels, np.ndarray):
        pixels = Image.fromarray(pixels)
    buffer = io.BytesIO()
    pixels.save(buffer, file_format, **kwargs)
    return buffer.getvalue()


def run(op, example):
    """Runs an op both eagerly and in tf.data; checks that the two agree."""
    eager = op({key: tf.constant(value) for key, value in example.items()})
    (mapped,) = tf.data.Dataset.from_tensors(example).map(op)
    assert eager.keys() == mapped.keys()
    for key, value in eager.items():
        np.testing.assert_array_equal(value, mapped[key])
    return {key: value.numpy() for key, value in eager.items()}


def run_image(op, image, seed=SEED):
    return run(op, {"image": image, "seed": seed})["image"]


def static_shape(op, **example):
    dataset = tf.data.Dataset.from_tensors(example)
    return dataset.map(op).element_spec["image"].shape


def mean_error(image, expected):
    return np.abs(np.asarray(image, float) - np.asarray(expected, float)).mean()


class TestDecode:
    @pytest.mark.parametrize("file_format", ["PNG", "BMP", "JPEG", "GIF"])
    @pytest.mark.parametrize("key", ["encoded", "path"])
    def test_formats(self, file_format, key, tmp_path):
        encoded = encode(CHINA, file_format, quality=95)
        path = tmp_path / "any.suffix"
        path.write_bytes(encoded)
        value = encoded if key == "encoded" else str(path)
        decoded = run(image_ops.decode_image(3), {key: value})
        assert "encoded" not in decoded
        expected = Image.open(io.BytesIO(encoded)).convert("RGB")
        np.testing.assert_array_equal(decoded["image"], expected)
        assert decoded["image"].dtype == np.uint8
        shape = static_shape(image_ops.decode_image(3), **{key: value})
        assert shape.as_list() == [None, None, 3]

    @pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
    def test_bmp_modes(self, mode):
        # The palette of a BMP is not TensorFlow's work but ours.
        picture = Image.fromarray(CHINA).convert(mode)
        for channels, target in ((3, "RGB"), (1, "L")):
            op = image_ops.decode_image(channels)
            decoded = run(op, {"encoded": encode(picture, "BMP")})["image"]
            expected = np.asarray(picture.convert("RGB").convert(target))
            expected = expected.reshape(*expected.shape[:2], channels)
            # PIL and TensorFlow weigh colours differently in the third decimal.
            error = np.abs(decoded.astype(int) - expected.astype(int)).max()
            assert error <= (0 if channels == 3 else 2)

    @pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
    def test_channels(self, mode):
        picture = Image.fromarray(CHINA).convert(mode)
        encoded = encode(picture, "PNG")
        own = run(image_ops.decode_image(), {"encoded": encoded})["image"]
        assert own.shape[-1] == len(mode)
        colour = run(image_ops.decode_image(3), {"encoded": encoded})["image"]
        np.testing.assert_array_equal(colour, picture.convert("RGB"))
        grey = run(image_ops.decode_image(1), {"encoded": encoded})["image"]
        assert grey.shape == (427, 640, 1)
        assert mean_error(grey[..., 0], picture.convert("L")) < 1
        # An image that is decoded already is converted alike.
        for channels, expected in ((1, grey), (3, colour)):
            again = run(image_ops.decode_image(channels), {"image": own})["image"]
            np.testing.assert_array_equal(again, expected)

    def test_first_frame_of_an_animation(self):
        other = Image.fromarray(CHINA[::-1].copy())
        encoded = encode(CHINA, "GIF", save_all=True, append_images=[other])
        decoded = run(image_ops.decode_image(3), {"encoded": encoded})["image"]
        np.testing.assert_array_equal(
            decoded, Image.open(io.BytesIO(encoded)).convert("RGB")
        )


class TestResize:
    def test_is_antialiased(self):
        image = run_image(image_ops.resize((40, 60)), CHINA)
        expected = Image.fromarray(CHINA).resize((60, 40), Image.Resampling.BILINEAR)
        assert image.dtype == np.uint8
        assert mean_error(image, expected) < 0.5
        aliased = tf.image.resize(CHINA, (40, 60))
        assert mean_error(aliased, expected) > 2

    def test_keeps_floats_and_the_same_size(self):
        floats = CHINA.astype(np.float32) / 255
        image = run_image(image_ops.resize((427, 640)), floats)
        np.testing.assert_array_equal(image, floats)
        image = run_image(image_ops.resize((50, 50)), floats)
        assert image.dtype == np.float32 and 0 <= image.min() < image.max() <= 1

    def test_white_stays_white(self):
        white = np.full((33, 57, 3), 255, np.uint8)
        for size in ((10, 11), (100, 90)):
            assert run_image(image_ops.resize(size), white).min() == 255

    def test_center_crop(self):
        image = run_image(image_ops.resize_small_then_center_crop((56, 56)), CHINA)
        # 56 / (224 / 256) = 64, which the shorter side of 427 becomes.
        small = Image.fromarray(CHINA).resize((96, 64), Image.Resampling.BILINEAR)
        expected = np.asarray(small)[4:60, 20:76]
        assert image.shape == (56, 56, 3)
        assert mean_error(image, expected) < 0.5

    @pytest.mark.parametrize("size", [(7, 31), (31, 7), (1, 1), (600, 700)])
    def test_center_crop_of_any_aspect(self, size):
        for image in (CHINA, CHINA[:3], CHINA[:, :2]):
            op = image_ops.resize_small_then_center_crop(size)
            assert run_image(op, image).shape == (*size, 3)

    def test_static_shapes(self):
        encoded = encode(CHINA, "PNG")
        decode = image_ops.decode_image(1)
        for op in (
            image_ops.resize((6, 8)),
            image_ops.resize_small_then_center_crop((6, 8)),
        ):
            shape = static_shape(lambda x, op=op: op(decode(x)), encoded=encoded)
            assert shape == (6, 8, 1)


class TestInceptionCrop:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_jpeg_is_cropped_as_the_decoded_image_is(self, channels):
        encoded = encode(CHINA, "JPEG", quality=95)
        op = image_ops.inception_crop((32, 48), channels)
        decoded = run(image_ops.decode_image(), {"encoded": encoded})["image"]
        for number in range(5):
            seed = [number, 1]
            fused = run(op, {"encoded": encoded, "seed": seed})["image"]
            plain = run(op, {"image": decoded, "seed": seed})["image"]
            assert fused.shape == (32, 48, channels)
            # JPEG blends colours across the borders of blocks, and so of boxes.
            assert mean_error(fused, plain) < 0.5
        assert static_shape(op, encoded=encoded, seed=SEED) == (32, 48, channels)

    def test_png_is_cropped_as_the_decoded_image_is(self):
        op = image_ops.inception_crop((32, 48), 3)
        fused = run(op, {"encoded": encode(CHINA, "PNG"), "seed": SEED})["image"]
        np.testing.assert_array_equal(fused, run_image(op, CHINA))

    def test_boxes_have_the_area_and_the_aspect(self):
        # Pixels that hold their own place: the corners of the box can be read off.
        rows, columns = np.mgrid[0:200, 0:240].astype(np.float32) / 240
        image = np.stack([rows, columns, rows], axis=-1)
        op = image_ops.inception_crop((50, 50), area=(0.2, 0.5), aspect=(0.8, 1.25))
        areas = []
        for number in range(40):
            box = run_image(op, image, [number, 2])
            # From first to last centre there are 49 of 50 steps.
            height, width = (np.ptp(box[..., axis]) * 240 * 50 / 49 for axis in (0, 1))
            areas.append(height * width / (200 * 240))
            assert 0.75 < width / height < 1.33
        assert 0.18 < min(areas) < 0.27 and 0.43 < max(areas) < 0.53


class TestRandomOps:
    image = np.arange(1, 6 * 7 + 1, dtype=np.uint8).reshape(6, 7, 1)

    def test_shift_moves_by_every_offset_and_fills_with_zero(self):
        op = image_ops.shift(2)
        padded = np.pad(self.image, ((2, 2), (2, 2), (0, 0)))
        expected = {
            padded[top : top + 6, left : left + 7].tobytes(): (top, left)
            for top in range(5)
            for left in range(5)
        }
        seeds = tf.data.Dataset.range(400).map(lambda n: tf.stack([n, 1]))
        moved = seeds.map(lambda seed: op({"image": self.image, "seed": seed})["image"])
        assert moved.element_spec.shape == self.image.shape
        assert {
            expected[image.tobytes()] for image in moved.as_numpy_iterator()
        } == set(expected.values())
        run_image(op, self.image)

    def test_flip_mirrors_half(self):
        op = image_ops.flip_left_right()
        flipped = 0
        for number in range(100):
            image = op(
                {"image": tf.constant(self.image), "seed": tf.constant([number, 1])}
            )["image"]
            mirrored = np.array_equal(image, self.image[:, ::-1])
            assert mirrored or np.array_equal(image, self.image)
            flipped += mirrored
        assert 30 < flipped < 70
        run_image(op, self.image)

    @pytest.mark.parametrize(
        "op",
        [
            image_ops.shift(3),
            image_ops.flip_left_right(),
            image_ops.inception_crop((6, 7)),
        ],
    )
    def test_only_the_seed_counts(self, op):
        def images(global_seed):
            tf.random.set_seed(global_seed)
            return [
                op({"image": tf.constant(self.image), "seed": tf.constant([n, 1])})[
                    "image"
                ].numpy()
                for n in range(10)
            ]

        np.testing.assert_array_equal(images(0), images(1))
        assert len({image.tobytes() for image in images(0)}) > 1

    def test_each_op_has_seeds_of_its_own(self):
        names = ("inception_crop", "flip_left_right", "shift")
        seeds = {
            tuple(image_ops.op_seed({"seed": tf.constant([n, 1])}, name).numpy())
            for n in range(20)
            for name in names
        }
        assert len(seeds) == 20 * len(names)


class TestColourJitter:
    @pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
    def test_each_colour_moves_as_far_as_it_says(self, name):
        op = image_ops.colour_jitter(**{name: 0.3})
        small = CHINA[::20, ::20].astype(np.float32) / 255
        # In the middle of the range, where nothing is cut off.
        small = 0.35 + 0.3 * small
        run_image(op, small)
        most = np.unravel_index(np.argmax(saturations(small)), small.shape[:2])
        measure = {
            "brightness": lambda x: np.mean(x - small),
            "contrast": lambda x: np.std(x[..., 0]) / np.std(small[..., 0]) - 1,
            "saturation": lambda x: (
                np.mean(saturations(x)) / np.mean(saturations(small)) - 1
            ),
            "hue": lambda x: hue_distance(x[most], small[most]),
        }[name]
        moves = [
            measure(op({"image": small, "seed": tf.constant([n, 1])})["image"].numpy())
            for n in range(60)
        ]
        assert -0.301 < min(moves) < -0.2 and 0.2 < max(moves) < 0.301

    def test_of_images_of_one_channel_only_light_changes(self):
        grey = CHINA[::20, ::20, :1]
        op = image_ops.colour_jitter(saturation=0.5, hue=0.5)
        np.testing.assert_allclose(run_image(op, grey), grey / 255, atol=1e-6)


def saturations(image):
    return 1 - image.min(axis=-1) / image.max(axis=-1)


def hue_distance(colour, other):
    """From one colour to another, in turns of the colour wheel."""
    hues = [tf.image.rgb_to_hsv(x)[0].numpy() for x in (colour, other)]
    return (hues[0] - hues[1] + 0.5) % 1 - 0.5


class TestScaleAndKeep:
    def test_scale(self):
        grey = np.array([0, 51, 255], np.uint8).reshape(1, 3, 1)
        image = run_image(image_ops.scale(), grey)
        assert image.dtype == np.float32
        np.testing.assert_allclose(image.ravel(), [-1, -0.6, 1], atol=1e-6)
        image = run_image(image_ops.scale(0, 2), grey.astype(np.float32) / 255)
        np.testing.assert_allclose(image.ravel(), [0, 0.4, 2], atol=1e-6)

    def test_keep(self):
        example = {"image": CHINA, "label": 1, "path": "x"}
        assert run(image_ops.keep("label", "path"), example).keys() == {"label", "path"}

    def test_examples_are_not_changed(self):
        example = {
            "encoded": tf.constant(encode(CHINA, "JPEG")),
            "seed": tf.constant(SEED),
        }
        before = dict(example)
        image_ops.decode_image(1)(example)
        image_ops.inception_crop((4, 4), 1)(example)
        assert example == before
