"""Texts: bytes to ids, steps, the recipe, and the languages of real messages."""

import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipelines import text_ops
from pipelines.recipes import load_recipe, save_recipe
from pipelines.sources import load_source
from pipelines.sources.languages import LANGUAGES, MIN_BYTES
from pipelines.text import TextRecipe
from pipelines.text_files import MASK, PAD, VOCABULARY_SIZE, decode, encode

TEXTS = ["naïve café", "日本語", "Ω", "plain"]


class TestBytes:
    @pytest.mark.parametrize(
        "text", [*map(str.encode, TEXTS), bytes(range(256)), b"\0"]
    )
    def test_ids_are_bytes_plus_six(self, text):
        ids = encode(tf.constant(text)).numpy()
        assert ids.dtype == np.int32
        assert ids.tolist() == [byte + 6 for byte in text]
        assert ids.max() < VOCABULARY_SIZE
        assert decode([1, *ids, 2, 0, 0]) == text


def example(text="the quick brown fox", seed=0):
    return {"text": encode(tf.constant(text)), "seed": tf.constant([seed, 1], tf.int64)}


class TestOps:
    def test_crop_keeps_one_piece_from_anywhere(self):
        text = bytes(range(97, 123))
        pieces = {
            decode(text_ops.crop(10)(example(text, seed))["text"].numpy())
            for seed in range(200)
        }
        assert pieces == {text[start : start + 10] for start in range(17)}
        whole = text_ops.crop(26)(example(text))["text"].numpy()
        assert decode(whole) == text

    def test_crop_to_a_fraction(self):
        text = bytes(range(97, 117))
        pieces = [
            decode(text_ops.crop(18, 0.3)(example(text, seed))["text"].numpy())
            for seed in range(200)
        ]
        assert all(piece in text for piece in pieces)
        assert {len(piece) for piece in pieces} == set(range(7, 19))
        assert decode(text_ops.crop(9, 0.01)(example(b"x"))["text"].numpy()) == b"x"

    def test_masked_bytes(self):
        ids = example("a" * 2000)["text"].numpy()
        masked = text_ops.mask_bytes(0.2)(example("a" * 2000))["text"].numpy()
        assert set(masked) == {MASK, ids[0]}
        assert np.mean(masked == MASK) == pytest.approx(0.2, abs=0.03)

    def test_cut_and_pad(self):
        ids = text_ops.pad(6)(text_ops.cut(4)(example("abcdef")))["text"].numpy()
        assert decode(ids) == b"abcd" and ids[4:].tolist() == [PAD, PAD]


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten files; none of them is UTF-8 as a whole set."""
    for number in range(20):
        path = tmp_path / ("latin", "greek")[number % 2] / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes("naïve é Ω".encode(("utf-8", "cp1253")[number % 2], "ignore"))
        with open(path, "ab") as file:
            file.write(b"\xff" * number)

    def load(split="train"):
        return load_source(f"folder:{tmp_path}", split, modality="text")

    return tmp_path, load


class TestRecipe:
    def test_length_is_found(self, folder):
        path, load = folder
        recipe = TextRecipe.from_source(load())
        assert recipe == TextRecipe(length=32)
        assert TextRecipe.from_source(load(), length=None) == recipe
        assert TextRecipe.from_source(load(), length=5).length == 5
        (path / "greek" / "long.txt").write_bytes(b"x" * 99_999)
        assert TextRecipe.from_source(load()).length <= 1024
        assert recipe.describe() == "texts of up to 32 bytes"
        save_recipe(recipe, ["greek", "latin"], path / "pipeline.json")
        assert load_recipe(path / "pipeline.json") == (recipe, ["greek", "latin"])

    @pytest.mark.parametrize("cache", [False, True])
    def test_batches(self, folder, cache):
        _, load = folder
        source = load()
        recipe = TextRecipe(length=12)
        kwargs = {"batch_size": 5, "seed": 0, "mask_rate": 0.2}
        dataset = recipe.train_dataset(source, cache=cache, crop_fraction=0.5, **kwargs)
        assert dataset.element_spec == (
            tf.TensorSpec((5, 12), tf.int32),
            tf.TensorSpec((5,), tf.int32),
        )
        ids = np.concatenate([ids for ids, _ in dataset.take(4)])
        assert {PAD, MASK} < set(ids.ravel().tolist())
        # Padding begins where the text ends.
        assert (np.diff((ids == PAD).astype(int), axis=1) >= 0).all()

    def test_preprocess_is_evaluation(self, folder):
        _, load = folder
        source = load("test")
        recipe = TextRecipe(length=14)
        ((ids, _),) = recipe.eval_dataset(source, batch_size=100)
        assert ids.dtype == tf.int32
        files = [item["path"].numpy().decode() for item in source.dataset]
        contents = [pathlib.Path(file).read_bytes() for file in files]
        for row, content in zip(ids.numpy(), contents, strict=True):
            assert decode(row) == content[:14]
        for items in (map(pathlib.Path, files), contents):
            np.testing.assert_array_equal(recipe.preprocess(list(items)), ids)
        assert decode(recipe.preprocess(["日本語"])[0]) == "日本語".encode()

    def test_an_empty_file_is_named(self, folder):
        path, load = folder
        recipe = TextRecipe(length=12)
        for file in path.rglob("*.txt"):
            file.write_bytes(b"")
        sentence = "Cannot decode text '.*/[0-9]+.txt': it is empty\\.$"
        with pytest.raises(ValueError, match=sentence):
            TextRecipe.from_source(load())
        with pytest.raises(ValueError, match=sentence):
            with recipe.readable_errors(load()):
                list(recipe.train_dataset(load(), batch_size=2, seed=0).take(1))
        with pytest.raises(ValueError, match=sentence):
            recipe.preprocess([file])
        with pytest.raises(ValueError, match="No such file"):
            recipe.preprocess([path / "nowhere.txt"])

    @pytest.mark.parametrize(
        "call, message",
        [
            (lambda: TextRecipe(length=0), "length=0"),
            (lambda: RECIPE.training_ops(crop_fraction=1.5), "crop_fraction=1.5"),
            (lambda: RECIPE.training_ops(mask_rate=1), "mask_rate=1"),
            (lambda: RECIPE.preprocess("text"), "sequence of texts"),
            (lambda: RECIPE.preprocess([""]), "a byte or more"),
            (lambda: RECIPE.preprocess([3]), "Received: 3"),
        ],
    )
    def test_bad_arguments(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()


RECIPE = TextRecipe(length=8)


def rows(source):
    return [(row["text"], row["label"]) for row in source.dataset.as_numpy_iterator()]


@pytest.fixture(scope="module")
def sources():
    return {
        split: load_source("builtin:languages", split, modality="text")
        for split in ("train", "validation", "test")
    }


class TestLanguages:
    def test_splits(self, sources):
        counts = {split: source.num_items for split, source in sources.items()}
        # Releases of Django differ by some messages.
        assert 6000 < counts["train"] < 8500
        assert 500 < counts["validation"] < 1000
        assert 1400 < counts["test"] < 2000
        seen = set()
        for source in sources.values():
            assert source.classes == tuple(LANGUAGES.values())
            assert min(np.bincount([label for _, label in rows(source)])) >= 15
            for text, _ in rows(source):
                assert len(text) >= MIN_BYTES
                assert text not in seen  # Nor in two languages.
                seen.add(text)

    def test_no_message_is_in_two_splits(self, sources):
        from pipelines.sources.languages import _read_translations

        message_of = {text.encode(): m for m, text, _ in _read_translations()}
        messages = [
            {message_of[text] for text, _ in rows(source)}
            for source in sources.values()
        ]
        assert sum(map(len, messages)) == len(set.union(*messages))

    def test_the_test_is_fixed_and_the_validation_is_drawn(self, sources):
        def load(split, **kwargs):
            return rows(
                load_source("builtin:languages", split, modality="text", **kwargs)
            )

        assert load("test", seed=3, validation_fraction=0.3) == rows(sources["test"])
        assert load("validation", seed=3) != rows(sources["validation"])
        assert load("validation") == rows(sources["validation"])
        everything = load("train", validation_fraction=0)
        kept = rows(sources["train"]) + rows(sources["validation"])
        assert sorted(everything) == sorted(kept)
        with pytest.raises(ValueError, match="validation_fraction=0"):
            load("validation", validation_fraction=0)

    def test_the_texts_are_in_their_languages(self, sources):
        classes = sources["test"].classes
        for text, label in rows(sources["test"]):
            is_cyrillic = any("\u0400" <= letter < "\u0500" for letter in text.decode())
            if classes[label] in ("Russian", "Bulgarian", "Ukrainian"):
                assert is_cyrillic
            else:
                assert not is_cyrillic

    def test_django_is_not_imported(self, sources):
        assert "django" not in sys.modules
