"""Checkpoints on the disk, whatever happens to it."""

import errno
import os
import shutil
import subprocess
import types

import numpy as np
import pytest

import checkpoints

STATE = {"model_0": np.arange(6.0).reshape(2, 3), "model_1": np.uint32([3, 4])}


def save(workdir, step, keep=2):
    state = {name: array + step for name, array in STATE.items()}
    return checkpoints.save(workdir, step, state, {"spent": [0.5, step]}, keep)


def steps(workdir):
    return sorted(
        int(path.name.removeprefix("step_"))
        for path in (workdir / "checkpoints").iterdir()
    )


def test_what_is_saved_comes_back(tmp_path):
    assert checkpoints.newest(tmp_path) is None
    saved = save(tmp_path, 7)
    assert checkpoints.newest(tmp_path) == saved
    assert saved.step == 7 and saved.notes() == {"spent": [0.5, 7]}
    for name, array in saved.state().items():
        np.testing.assert_array_equal(array, STATE[name] + 7)
        assert array.dtype == (STATE[name] + 7).dtype
    # Anyone can verify it.
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=saved.folder,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("keep", [1, 3])
def test_the_newest_are_kept(tmp_path, keep):
    for step in (2, 8, 9, 10, 11):
        save(tmp_path, step, keep)
    assert steps(tmp_path) == [2, 8, 9, 10, 11][-keep:]


def spoil(name, change):
    def damage(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(change(content))

    return damage


@pytest.mark.parametrize(
    "damage, reason",
    [
        (spoil("state.npz", lambda x: x[:-9]), "state.npz has another checksum"),
        (spoil("state.npz", lambda x: x.replace(b"\0", b"\1", 1)), "another checksum"),
        (spoil("notes.json", lambda x: b""), "notes.json has another checksum"),
        (spoil("SHA256SUMS", lambda x: b"\xff"), "decode"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "No such file"),
        (lambda folder: (folder / "state.npz").unlink(), "No such file"),
    ],
)
def test_a_damaged_one_falls_back_to_the_one_before(tmp_path, damage, reason):
    for step in (3, 6, 9):
        save(tmp_path, step)
    damage(tmp_path / "checkpoints" / "step_9")
    with pytest.warns(UserWarning, match=f"step_9 is damaged.*{reason}"):
        before = checkpoints.newest(tmp_path)
    assert before.step == 6
    # It is in no one's way as the run goes on, and does not count as one that is kept.
    save(tmp_path, 7)
    assert steps(tmp_path) == [6, 7]
    assert checkpoints.newest(tmp_path).step == 7


def test_a_damaged_one_is_replaced(tmp_path):
    save(tmp_path, 3)
    (save(tmp_path, 6).folder / "notes.json").unlink()
    save(tmp_path, 6)
    assert checkpoints.newest(tmp_path).step == 6


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_again(tmp_path):
    for step in (3, 6):
        (save(tmp_path, step).folder / "notes.json").unlink()
    with pytest.warns(UserWarning) as warned, pytest.raises(ValueError, match="All"):
        checkpoints.newest(tmp_path)
    assert len(warned) == 2


@pytest.mark.parametrize("owner, name", [(os, "replace"), (np, "savez"), (os, "fsync")])
def test_a_death_while_one_is_written_leaves_the_one_before(
    tmp_path, monkeypatch, owner, name
):
    save(tmp_path, 3)

    def die(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, name, die)
        save(tmp_path, 6)
    assert (tmp_path / "checkpoints" / ".partial").exists()
    assert checkpoints.newest(tmp_path).step == 3
    save(tmp_path, 6)
    assert checkpoints.newest(tmp_path).step == 6
    assert not (tmp_path / "checkpoints" / ".partial").exists()


def test_all_is_synced_before_it_counts(tmp_path, monkeypatch):
    events = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)

        def note(*args, name=name, original=original):
            events.append(name)
            return original(*args)

        monkeypatch.setattr(os, name, note)
    save(tmp_path, 3)
    # Three files and their folder, the name, and the folder that has it.
    assert events == 4 * ["fsync"] + ["replace", "fsync"]


def test_a_disk_that_fills_up_keeps_what_is_there(tmp_path, monkeypatch):
    save(tmp_path, 3)

    def fill(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", fill)
        with pytest.raises(OSError, match="step_6 could not be written.*No space left"):
            save(tmp_path, 6)
    assert steps(tmp_path) == [3]
    assert checkpoints.newest(tmp_path).step == 3


def test_space_is_checked_beforehand(tmp_path, monkeypatch):
    def free(num_bytes):
        usage = types.SimpleNamespace(free=num_bytes)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    workdir = tmp_path / "to" / "come"
    free(3 * 10**9 + 10**8)
    checkpoints.check_space(workdir, 10**9, keep=2, model_bytes=10**8)
    assert not workdir.exists()
    free(3 * 10**9)
    with pytest.raises(ValueError, match="3 checkpoints of 1,000.0 MB.*3,100.0 MB"):
        checkpoints.check_space(workdir, 10**9, keep=2, model_bytes=10**8)
    # What the run has written already needs no more space.
    saved = save(workdir, 3)
    size = sum(file.stat().st_size for file in saved.folder.iterdir())
    free(2 * size)
    checkpoints.check_space(workdir, size, keep=2, model_bytes=0)
    free(2 * size - 1)
    with pytest.raises(ValueError, match="too full"):
        checkpoints.check_space(workdir, size, keep=2, model_bytes=0)
