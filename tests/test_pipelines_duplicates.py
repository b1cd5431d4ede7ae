"""What is held out and trained on as well is found, and nothing else."""

import types

import pytest
import tensorflow as tf

import run_data
import run_folder
from pipelines.duplicates import find_duplicates
from pipelines.sources import SPLITS, load_source
from pipelines.sources.record_writer import write_records


@pytest.fixture
def folder(tmp_path):
    """Texts of which test/b/2 is train/a/1, and test/a/0 has a size in common."""
    for split in ("train", "val", "test"):
        for number in range(6):
            path = tmp_path / "texts" / split / "ab"[number % 2] / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{split} {number}" + "." * number)
    (tmp_path / "texts" / "test" / "b" / "2.txt").write_text("the same")
    (tmp_path / "texts" / "train" / "a" / "1.txt").write_text("the same")
    (tmp_path / "texts" / "test" / "a" / "0.txt").write_text("the sane")
    return tmp_path / "texts"


def load(spec):
    return {split: load_source(spec, split, modality="text") for split in SPLITS}


def test_files(folder):
    sources = load(f"folder:{folder}")
    pair = (f"{folder}/test/b/2.txt", f"{folder}/train/a/1.txt")
    assert find_duplicates(sources["test"], sources["train"]) == [pair]
    assert find_duplicates(sources["validation"], sources["train"]) == []
    (folder / "train" / "a" / "1.txt").unlink()  # Reading it will tell.
    assert find_duplicates(sources["test"], sources["train"]) == []


def test_only_files_of_one_size_are_read(folder, monkeypatch):
    sources = load(f"folder:{folder}")
    opened = []
    monkeypatch.setattr(
        "pipelines.duplicates.open",
        lambda path, mode: (opened.append(path), open(path, mode))[1],
        raising=False,
    )
    find_duplicates(sources["validation"], sources["train"])
    sizes = {}
    for split in ("val", "train"):
        for path in (folder / split).rglob("*.txt"):
            sizes.setdefault(path.stat().st_size, set()).add(split)
    shared = {size for size, splits in sizes.items() if len(splits) == 2}
    expected = sum(
        path.stat().st_size in shared
        for split in ("val", "train")
        for path in (folder / split).rglob("*.txt")
    )
    assert len(opened) == expected < 12


def test_records(folder, tmp_path):
    output = tmp_path / "records"
    write_records(load(f"folder:{folder}"), output, modality="text", num_shards=2)
    sources = load(f"tfrecord:{output}")
    ((twin, original),) = find_duplicates(sources["test"], sources["train"])
    assert "records-test-" in twin and "records-train-" in original
    for place in (twin, original):
        path, _, number = place.rpartition(", record ")
        records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
        assert b"the same" in records[int(number)]
    assert find_duplicates(sources["validation"], sources["train"]) == []


def test_arrays_have_none():
    sources = {
        split: load_source("builtin:mnist5k", split) for split in ("train", "test")
    }
    assert find_duplicates(sources["test"], sources["train"]) == []


def test_a_run_reports_them(folder, tmp_path, capsys):
    sources = load(f"folder:{folder}")
    data = types.SimpleNamespace(check_duplicates=True)
    lines = run_data.find_duplicates(sources, data)
    pair = f"{folder}/test/b/2.txt = {folder}/train/a/1.txt"
    assert lines == [f"test: {pair}"]
    assert capsys.readouterr().out == (
        f"1 of 7 test items are also in training (e.g. {pair})\n"
    )
    run_folder.report_lines(tmp_path, "duplicates.txt", lines)
    report = tmp_path / "report" / "duplicates.txt"
    assert report.read_text() == f"test: {pair}\n"


def test_a_run_may_leave_it(folder, tmp_path):
    data = types.SimpleNamespace(check_duplicates=False)
    lines = run_data.find_duplicates(load(f"folder:{folder}"), data)
    run_folder.report_lines(tmp_path, "duplicates.txt", lines)
    assert lines is None and not (tmp_path / "report").exists()
