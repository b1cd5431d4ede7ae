"""TFRecord files: what is written is read again, by any worker, or one sentence."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import write_records as script
from pipelines.image import ImageRecipe
from pipelines.recipes import find_recipe
from pipelines.sources import SPLITS, load_source, part, source_from_arrays, without
from pipelines.sources.record_writer import verify_records, write_records
from pipelines.sources.source import source_from_columns
from sound_files import encode_sound, tone
from video_clips import numbered_frames, write_video


def write_pictures(folder, per_class=10):
    for number in range(2 * per_class):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 5, 3), number, np.uint8)).save(path)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder)
    return folder


def write(source, output, *flags, modality="image"):
    return script.main(
        [
            f"--source={source}",
            f"--modality={modality}",
            f"--output={output}",
            *flags,
        ]
    )


@pytest.fixture
def records(pictures, tmp_path):
    """20 pictures in three files of each split: 14, 2 and 4."""
    assert write(f"folder:{pictures}", tmp_path / "toys", "--shards=3") == 0
    return tmp_path / "toys"


@pytest.fixture
def whole(pictures, tmp_path):
    """The same, not divided."""
    flags = ("--shards=3", "--split=all")
    assert write(f"folder:{pictures}", tmp_path / "whole", *flags) == 0
    return tmp_path / "whole"


def items(source):
    return list(source.dataset.as_numpy_iterator())


def everything(spec, modality="image"):
    division = {"validation_fraction": 0, "test_fraction": 0}
    return load_source(spec, "train", modality=modality, **division)


def damage(path):
    """Changes one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class TestRoundTrip:
    def test_splits_of_a_folder(self, pictures, records):
        for split in SPLITS:
            source = load_source(f"tfrecord:{records}", split)
            expected = load_source(f"folder:{pictures}", split)
            assert source.classes == expected.classes
            assert source.num_items == expected.num_items
            spec = source.dataset.element_spec
            assert spec["label"] == tf.TensorSpec((), tf.int32)
            assert spec["index"] == tf.TensorSpec((), tf.int64)
            found = {item["name"]: item for item in items(source)}
            for item in items(expected):
                folder, _, file = item["path"].rpartition(b"/")
                twin = found.pop(folder[-1:] + b"/" + file)
                assert (
                    twin["encoded"] == (pictures / item["path"].decode()).read_bytes()
                )
                assert twin["label"] == item["label"]
            assert not found

    def test_the_order_is_always_the_same(self, records):
        runs = [items(load_source(f"tfrecord:{records}", "train")) for _ in range(2)]
        names = [[item["name"] for item in run] for run in runs]
        assert names[0] == names[1]
        assert [item["index"] for item in runs[0]] == list(range(14))
        assert len({item["label"] for item in runs[0][:6]}) == 2

    def test_the_index(self, records):
        index = json.loads((records / "records.json").read_text())
        assert index["splits"] == {"train": 14, "validation": 2, "test": 4}
        assert index["modality"] == "image" and index["classes"] == ["a", "b"]
        files = [shard["file"] for shard in index["shards"]]
        assert files[0] == "toys-train-00000-of-00003.tfrecord"
        assert files[-1] == "toys-test-00002-of-00003.tfrecord"
        assert "toys-validation-00001-of-00002.tfrecord" in files
        assert sorted(p.name for p in records.glob("*.tfrecord")) == sorted(files)
        for shard in index["shards"]:
            assert shard["bytes"] == (records / shard["file"]).stat().st_size
            assert shard["items"] == len(shard["labels"])

    ARRAYS = {
        "image": {"image": np.arange(96, dtype=np.uint8).reshape(4, 2, 4, 3)},
        "video": {"video": np.arange(96, dtype=np.uint8).reshape(4, 2, 3, 4, 1)},
        "audio": {
            "audio": np.linspace(-1, 1, 40, dtype=np.float32).reshape(4, 10),
            "rate": np.array([8000, 8000, 16000, 8000], np.int32),
        },
        "audio_video": {
            "video": np.arange(96, dtype=np.uint8).reshape(4, 2, 3, 4, 1),
            "audio": np.linspace(-1, 1, 40, dtype=np.float32).reshape(4, 10),
            "rate": np.full(4, 100, np.int32),
        },
        "points": {"points": np.linspace(0, 1, 60, dtype=np.float32).reshape(4, 5, 3)},
        "text": {"text": [b"one", b"two", b"\xff\x00", "v\xeer".encode()]},
    }

    @pytest.mark.parametrize("modality", ARRAYS)
    def test_arrays(self, tmp_path, modality):
        columns = self.ARRAYS[modality]
        source = source_from_columns(columns, [0, 1, 1, 0], classes="ab", name="x")
        output = tmp_path / "records"
        write_records({"all": source}, output, modality=modality, num_shards=1)
        loaded = everything(f"tfrecord:{output}", modality)
        assert loaded.dataset.element_spec == source.dataset.element_spec
        for item, expected in zip(items(loaded), items(source), strict=True):
            assert item.keys() == expected.keys()
            for key, value in expected.items():
                np.testing.assert_array_equal(item[key], value)
        # Nothing needs `records.json` but the names of the classes.
        (output / "records.json").unlink()
        with pytest.warns(UserWarning, match="the 4 records of 1 files"):
            loaded = everything(f"tfrecord:{output}", modality)
        assert loaded.classes == ("0", "1")
        for item, expected in zip(items(loaded), items(source), strict=True):
            for key, value in expected.items():
                np.testing.assert_array_equal(item[key], value)

    @staticmethod
    def content(modality, number, path):
        if modality == "audio":
            wave = tone(8000, 0.05, 500 + 100 * number)
            path = path.with_suffix(".wav")
            path.write_bytes(encode_sound(wave, 8000, "wav", "pcm_s16le"))
        elif modality == "audio_video":
            frames = numbered_frames(5 + number)[number:]
            wave = tone(8000, 0.5, 500 + 100 * number)
            encoded = encode_sound(wave, 8000, "matroska", "pcm_s16le", video=frames)
            path.with_suffix(".mkv").write_bytes(encoded)
        elif modality == "video":
            frames = numbered_frames(5 + number)[number:]
            write_video(path.with_suffix(".mkv"), frames, codec="ffv1")
        elif modality == "points":
            points = np.random.default_rng(number).random((9, 3))
            np.save(path.with_suffix(".npy"), points)
        elif modality == "text":
            path.with_suffix(".txt").write_bytes(b"text \xff %d" % number)
        else:
            pixels = np.full((4, 5, 3), number, np.uint8)
            Image.fromarray(pixels).save(path.with_suffix(".bmp"))

    @pytest.mark.parametrize("modality", ARRAYS)
    def test_files_become_the_same_inputs(self, tmp_path, modality):
        for number in range(4):
            folder = tmp_path / "files" / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            self.content(modality, number, folder / str(number))
        spec = f"folder:{tmp_path / 'files'}"
        output = tmp_path / "records"
        flags = ("--split=all", "--shards=1")
        assert write(spec, output, *flags, modality=modality) == 0
        source = everything(spec, modality)
        loaded = everything(f"tfrecord:{output}/*.tfrecord", modality)
        recipe = find_recipe(modality).from_source(loaded)
        assert recipe == find_recipe(modality).from_source(source)
        (expected,), (batch,) = (
            recipe.eval_dataset(s, batch_size=4) for s in (source, loaded)
        )
        tf.nest.map_structure(np.testing.assert_array_equal, batch, expected)
        train = recipe.train_dataset(loaded, batch_size=4, seed=0)
        assert set(next(iter(train))[1].numpy()) == {0, 1}


class TestSeveralLabels:
    @pytest.fixture
    def labelled(self, tmp_path):
        """20 pictures: three labels, two, one and none."""
        write_pictures(tmp_path / "files")
        labels = ["x;y;z", "z;x", "y", ""]
        rows = [f"{'ab'[i % 2]}/{i}.png,{labels[i % 4]}" for i in range(20)]
        text = "\n".join(["file,labels", *rows])
        (tmp_path / "files" / "labels.csv").write_text(text)
        return f"folder:{tmp_path / 'files'}"

    VECTORS = ([1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0])

    def check(self, source):
        """The labels are those of the files; returns the names of these."""
        assert source.multi_label and source.classes == ("x", "y", "z")
        spec = source.dataset.element_spec["label"]
        assert spec == tf.TensorSpec((3,), tf.float32)
        names = []
        for item in items(source):
            number = int(item["name"][2:].partition(b".")[0])
            np.testing.assert_array_equal(item["label"], self.VECTORS[number % 4])
            names.append(item["name"])
        assert len(names) == source.num_items
        return names

    def test_round_trip(self, labelled, tmp_path):
        output = tmp_path / "records"
        assert write(labelled, output, "--shards=3") == 0
        index = json.loads((output / "records.json").read_text())
        assert index["multi_label"]
        lists = [label for shard in index["shards"] for label in shard["labels"]]
        assert sorted(lists) == sorted([[0, 1, 2], [0, 2], [1], []] * 5)
        for split, count in zip(SPLITS, (14, 2, 4), strict=True):
            source = load_source(f"tfrecord:{output}", split)
            expected = load_source(labelled, split)
            paths = [b"/".join(i["path"].split(b"/")[-2:]) for i in items(expected)]
            assert sorted(self.check(source)) == sorted(paths)
            assert source.num_items == count
        train = load_source(f"tfrecord:{output}", "train")
        assert part(train, 2, 1).multi_label
        recipe = ImageRecipe.from_source(train)
        _, labels = next(iter(recipe.train_dataset(train, batch_size=7, seed=0)))
        assert labels.shape == (7, 3) and labels.dtype == tf.float32
        # Records are written again from records.
        assert write(f"tfrecord:{output}", tmp_path / "again", "--split=train") == 0
        again = everything(f"tfrecord:{tmp_path / 'again'}")
        assert sorted(self.check(again)) == sorted(self.check(train))

    def test_undivided_records_are_divided_at_random(self, labelled, tmp_path):
        output = tmp_path / "records"
        assert write(labelled, output, "--shards=3", "--split=all") == 0
        parts = [self.check(load_source(f"tfrecord:{output}", s)) for s in SPLITS]
        assert [len(names) for names in parts] == [14, 2, 4]
        assert len(set().union(*parts)) == 20
        other = load_source(f"tfrecord:{output}", "test", seed=1)
        assert sorted(self.check(other)) != sorted(parts[2])

    def test_without_the_index_there_is_one_label_each(self, labelled, tmp_path):
        output = tmp_path / "records"
        assert write(labelled, output, "--shards=1", "--split=all") == 0
        (output / "records.json").unlink()
        with pytest.raises(ValueError, match=r"Cannot read the records of .*[Ll]abel"):
            load_source(f"tfrecord:{output}", "train")


class TestSplits:
    def test_undivided_records_are_divided_by_the_rule(self, whole):
        for seed in (0, 1):
            parts = {
                split: load_source(f"tfrecord:{whole}", split, seed=seed)
                for split in SPLITS
            }
            names = []
            for split, count in zip(SPLITS, (14, 2, 4), strict=True):
                found = items(parts[split])
                assert parts[split].num_items == len(found) == count
                assert (
                    np.bincount([i["label"] for i in found]).tolist() == [count / 2] * 2
                )
                assert [item["index"] for item in found] == list(range(count))
                names += [item["name"] for item in found]
            assert len(set(names)) == 20

    def test_validation_alone_is_the_test(self, pictures, tmp_path):
        flags = ("--split", "train", "validation", "--shards=2")
        write(f"folder:{pictures}", tmp_path / "x", *flags)
        counts = [load_source(f"tfrecord:{tmp_path}/x", s).num_items for s in SPLITS]
        assert counts == [12, 2, 2]

    def test_files_of_one_part_alone_are_divided(self, records):
        spec = f"tfrecord:{records}/toys-train-*"
        assert [load_source(spec, s).num_items for s in SPLITS] == [10, 2, 2]
        assert everything(f"tfrecord:{records}/toys-test-*").num_items == 4

    def test_without_an_index_records_are_counted_once(self, whole):
        (whole / "records.json").unlink()
        with pytest.warns(UserWarning) as caught:
            counts = [load_source(f"tfrecord:{whole}", s).num_items for s in SPLITS]
        assert counts == [14, 2, 4]
        (message,) = (str(w.message) for w in caught)
        assert "the 20 records of 3 files" in message and "2 classes go by" in message


class TestDamage:
    @pytest.mark.parametrize("with_index", [True, False])
    def test_truncated_file(self, whole, with_index):
        path = whole / "whole-all-00001-of-00003.tfrecord"
        path.write_bytes(path.read_bytes()[:-30])
        if not with_index:
            (whole / "records.json").unlink()
        reason = "were written" if with_index else "truncated or damaged"
        with pytest.raises(ValueError, match=f"'{path}': .*{reason}[^\n]*$"):
            load_source(f"tfrecord:{whole}", "train")

    def test_changed_byte(self, records):
        path = records / "toys-train-00001-of-00003.tfrecord"
        damage(path)
        source = load_source(f"tfrecord:{records}", "train")
        match = f"'{path}': the file is truncated or damaged .corrupted record at"
        with pytest.raises(ValueError, match=match) as info:
            ImageRecipe.from_source(source)
        assert info.value.__suppress_context__
        recipe = ImageRecipe(image_size=(4, 4), channels=3)
        for batches in (
            recipe.eval_dataset(source, batch_size=2),
            recipe.train_dataset(source, batch_size=2, seed=0),
        ):
            with pytest.raises(ValueError, match=match), recipe.readable_errors(source):
                for _ in batches.take(20):
                    pass
        with pytest.raises(ValueError, match=match):  # Nor can it be skipped.
            list(recipe.unreadable(source))
        other = load_source(f"tfrecord:{records}", "test")
        assert not list(recipe.unreadable(other))

    def test_file_deleted_after_loading(self, records):
        source = load_source(f"tfrecord:{records}", "train")
        path = records / "toys-train-00001-of-00003.tfrecord"
        path.unlink()
        recipe = ImageRecipe(image_size=(4, 4), channels=3)
        with pytest.raises(ValueError, match=f"'{path}': .*No such file"):
            with recipe.readable_errors(source):
                list(recipe.eval_dataset(source, batch_size=2))

    def test_record_that_is_no_picture(self, pictures, tmp_path):
        write_pictures(tmp_path / "pictures")
        (tmp_path / "pictures" / "b" / "7.png").write_bytes(b"text")
        output = tmp_path / "records"
        spec = f"folder:{tmp_path / 'pictures'}"
        write(spec, output, "--split=all", "--shards=2")
        source = everything(f"tfrecord:{output}")
        recipe = ImageRecipe(image_size=(4, 4), channels=3)
        with pytest.raises(ValueError, match="image 'b/7.png of tfrecord:.*': Unknown"):
            with recipe.readable_errors(source):
                list(recipe.eval_dataset(source, batch_size=2))
        rest = without(source, dict(recipe.unreadable(source)))
        assert rest.num_items == 19 and not list(recipe.unreadable(rest))

    def test_verify(self, records, capsys):
        flags = ["--verify", f"--output={records}"]
        assert script.main(flags) == 0
        assert f"All 8 files of {records} are as they were" in capsys.readouterr().out
        path = records / "toys-test-00000-of-00003.tfrecord"
        damage(path)
        with pytest.raises(ValueError, match=f"'{path}' is not as it was written"):
            script.main(flags)
        path.unlink()
        with pytest.raises(ValueError, match=f"'{path}': No such file"):
            verify_records(records)

    def test_what_the_index_does_not_fit(self, records):
        index = records / "records.json"
        extra = records / "toys-train-9.tfrecord"
        extra.write_bytes(b"")
        with pytest.raises(ValueError, match=f"knows no such file. Received: {extra}"):
            load_source(f"tfrecord:{records}", "train")
        extra.unlink()
        with pytest.raises(ValueError, match="'image'. Received: modality='audio'"):
            load_source(f"tfrecord:{records}", "train", modality="audio")
        gone = records / "toys-train-00002-of-00003.tfrecord"
        gone.unlink()
        for spec in (records, f"{records}/*.tfrecord", f"{records}/toys-train-*"):
            with pytest.raises(ValueError, match=f"tells of {gone.name}, which is not"):
                load_source(f"tfrecord:{spec}", "train")
        for text in ("[]", "{", '{"version": 1}', '{"shards": [1]}', '{"shards": 1}'):
            index.write_text(text)
            with pytest.raises(ValueError, match=f"Cannot read '{index}'"):
                load_source(f"tfrecord:{records}", "train")
        whole_index = json.dumps(
            {
                "version": 2,
                "modality": "image",
                "classes": [],
                "features": {},
                "shards": [],
            }
        )
        index.write_text(whole_index)
        with pytest.raises(ValueError, match="later version than 1.*version=2"):
            load_source(f"tfrecord:{records}", "train")

    def foreign(self, tmp_path, *contents):
        with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
            for content in contents:
                writer.write(content)
        return f"tfrecord:{tmp_path}"

    @staticmethod
    def example(label, **features):
        def bytes_feature(value):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

        feature = {key: bytes_feature(value) for key, value in features.items()}
        if label is not None:
            numbers = tf.train.Int64List(value=[label])
            feature["label"] = tf.train.Feature(int64_list=numbers)
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        return example.SerializeToString()

    def test_records_of_another_schema(self, tmp_path):
        for contents, message in (
            ([], "hold no records"),
            ([b"\xff\xff no example"], "the first is no tf.train.Example"),
            ([self.example(None, encoded=b"x")], r"the first has \['encoded'\]"),
            ([self.example(0, jpeg=b"x")], r"or 'image', and the first has \['jpeg'"),
            ([self.example(0, image=b"x")], "a tensor as tf.io.serialize_tensor"),
            ([self.example(-1, encoded=b"x")], "the number of a class, from 0"),
            (
                [self.example(0, encoded=b"x"), self.example(None, encoded=b"x")],
                "Cannot read the records of .*x.tfrecord': .*label",
            ),
        ):
            spec = self.foreign(tmp_path, *contents)
            with pytest.raises(ValueError, match=message) as info:
                load_source(spec, "train")
            assert "\n" not in str(info.value)

    def test_no_files_or_many_folders(self, tmp_path, pictures):
        with pytest.raises(ValueError, match="no such files. Received: tfrecord:/no/"):
            load_source("tfrecord:/no/where/*", "train")
        with pytest.raises(ValueError, match="must be in one folder"):
            load_source(f"tfrecord:{pictures}/*/*.png", "train")


class TestWriting:
    def test_a_folder_that_is_not_empty_is_refused(self, records, pictures):
        before = sorted(records.iterdir())
        with pytest.raises(ValueError, match=f"new or empty .*: {records}"):
            write(f"folder:{pictures}", records)
        assert sorted(records.iterdir()) == before

    def test_whole_or_not_at_all(self, tmp_path):
        write_pictures(tmp_path / "pictures")
        source = everything(f"folder:{tmp_path / 'pictures'}")
        deleted = tmp_path / "pictures" / "b" / "7.png"
        deleted.unlink()
        output = tmp_path / "records"
        with pytest.raises(ValueError, match=f"Cannot read '{deleted}': No such file"):
            write_records({"train": source}, output, modality="image")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["pictures"]
        # What a killed run has left does not disturb.
        (tmp_path / ".records.partial").mkdir()
        (tmp_path / ".records.partial" / "x").touch()
        output.mkdir()
        source = everything(f"folder:{tmp_path / 'pictures'}")
        write_records({"all": source}, output, modality="image")
        assert everything(f"tfrecord:{output}").num_items == 19
        assert not (tmp_path / ".records.partial").exists()

    @pytest.mark.parametrize(
        "flags, message",
        [
            (["--modality=image"], "`--source` must be given"),
            (["--source=folder:x"], "`--modality` must be given"),
            (["--source=x", "--modality=smell"], "smell"),
            (
                ["--source=x", "--modality=text", "--split", "all", "train"],
                "must stand alone",
            ),
        ],
    )
    def test_bad_flags(self, tmp_path, capsys, flags, message):
        with pytest.raises(SystemExit) as end:
            script.main([f"--output={tmp_path / 'x'}", *flags])
        assert end.value.code == 2
        assert message in capsys.readouterr().err

    def test_parts_are_not_left_out_of_what_is_to_be_undivided(self, tmp_path):
        for split in ("train", "test"):
            write_pictures(tmp_path / "divided" / split, per_class=2)
        with pytest.raises(ValueError, match="parts of its own.*train, test$"):
            write(f"folder:{tmp_path / 'divided'}", tmp_path / "x", "--split=all")
        assert not (tmp_path / "x").exists()

    def test_bad_number_of_shards(self, pictures, tmp_path):
        with pytest.raises(ValueError, match="Received: num_shards=0"):
            write(f"folder:{pictures}", tmp_path / "x", "--shards=0")


def numbers(count=103):
    values = np.arange(count)
    return source_from_arrays(values.reshape(-1, 1, 1).astype(np.uint8), values)


def labels_of(source):
    return [int(item["label"]) for item in items(source)]


class TestParts:
    @pytest.mark.parametrize("num_shards", [1, 5])
    def test_parts_of_records(self, tmp_path, num_shards):
        write_records(
            {"all": numbers(20)},
            tmp_path / "x",
            modality="image",
            num_shards=num_shards,
        )
        source = everything(f"tfrecord:{tmp_path / 'x'}")
        parts = [part(source, 2, worker) for worker in (0, 1)]
        found = [labels_of(p) for p in parts]
        assert sorted(found[0] + found[1]) == list(range(20))
        # By whole files, where there are enough: 0..3, 8..11 and 16..19, say.
        assert [len(labels) for labels in found] == ([10, 10], [12, 8])[num_shards == 5]
        for p, labels in zip(parts, found, strict=True):
            assert p.num_items == len(labels) and p.classes == source.classes
            assert [item["index"] for item in items(p)] == list(range(len(labels)))

    def test_parts_of_what_was_left(self, tmp_path):
        write_records({"all": numbers(20)}, tmp_path / "x", modality="image")
        source = without(everything(f"tfrecord:{tmp_path / 'x'}"), [3, 4])
        found = [labels_of(part(source, 2, worker)) for worker in (0, 1)]
        assert sorted(found[0] + found[1]) == sorted(labels_of(source))

    def test_parts_of_arrays(self):
        found = [labels_of(part(numbers(), 3, worker)) for worker in range(3)]
        assert sorted(sum(found, [])) == list(range(103))
        assert [len(labels) for labels in found] == [35, 34, 34]
        assert [part(numbers(), 3, worker).num_items for worker in range(3)] == [
            35,
            34,
            34,
        ]

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ((0, 0), "num_workers=0"),
            ((2, 2), "below `num_workers`. Received: worker=2"),
            ((2, -1), "worker=-1"),
            ((200, 0), "larger than the 103 items of arrays. .*num_workers=200"),
        ],
    )
    def test_bad_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            part(numbers(), *arguments)

    def distributed(self, dataset, worker):
        """What a strategy of two workers gives to one of them."""
        policy = dataset.options().experimental_distribute.auto_shard_policy
        spec = tf.nest.flatten(dataset.element_spec)
        variant = tf.raw_ops.AutoShardDataset(
            input_dataset=tf.data.experimental.to_variant(dataset),
            num_workers=2,
            index=worker,
            output_types=[s.dtype for s in spec],
            output_shapes=[s.shape for s in spec],
            auto_shard_policy=policy.value,
        )
        return tf.data.experimental.from_variant(variant, dataset.element_spec)

    @pytest.mark.parametrize("kind", ["arrays", "records"])
    def test_a_strategy_divides_the_batches(self, tmp_path, kind):
        source = numbers(24)
        if kind == "records":
            write_records({"all": source}, tmp_path / "x", modality="image")
            source = everything(f"tfrecord:{tmp_path / 'x'}")
        recipe = ImageRecipe(image_size=(1, 1), channels=1)
        train = recipe.train_dataset(source, batch_size=4, seed=0)
        for batches, count in (
            (train, 3),
            (recipe.eval_dataset(source, batch_size=4), 3),
        ):
            shares = [
                np.concatenate(
                    [y for _, y in self.distributed(batches, worker).take(count)]
                )
                for worker in (0, 1)
            ]
            assert [len(share) for share in shares] == [12, 12]
            assert sorted(np.concatenate(shares)) == list(range(24))

    def test_what_a_worker_has_alone_is_not_divided_again(self):
        recipe = ImageRecipe(image_size=(1, 1), channels=1)
        for worker in (0, 1):
            own = part(numbers(24), 2, worker)
            batches = recipe.eval_dataset(own, batch_size=4)
            share = [y for _, y in self.distributed(batches, worker)]
            assert sorted(np.concatenate(share)) == sorted(labels_of(own))
