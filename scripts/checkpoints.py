"""Checkpoints on the disk: there as a whole or not at all, a few of them, verified.

A checkpoint is a folder, `checkpoints/step_N` of a run, with the state after N batches:

* `state.npz`: arrays;
* `notes.json`: what else is to be known;
* `SHA256SUMS`: checksums of both, which `sha256sum --check` reads as well.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import warnings

import numpy as np

import durable

STATE, NOTES, SUMS = "state.npz", "notes.json", "SHA256SUMS"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the disk.

    Attributes:
        folder: `pathlib.Path`.
        step: int, how many batches it has behind it.
    """

    folder: pathlib.Path
    step: int

    def state(self):
        """Its arrays, a dict by their names."""
        with np.load(self.folder / STATE) as arrays:
            return dict(arrays)

    def notes(self):
        """What was noted beside the arrays, a dict."""
        return json.loads((self.folder / NOTES).read_text())

    def damage(self):
        """What is wrong with its files, a string; `None` if they are as written."""
        try:
            sums = (self.folder / SUMS).read_text()
            for name in (STATE, NOTES):
                if f"{_checksum(self.folder / name)}  {name}\n" not in sums:
                    return f"{name} has another checksum than in {SUMS}"
        except (OSError, UnicodeDecodeError) as error:
            return str(error)


def save(workdir, step, state, notes, keep):
    """Saves a checkpoint, then deletes all but the newest.

    Args:
        workdir: `pathlib.Path`, the run's folder.
        step: int, the number of batches behind it.
        state: dict from names to arrays.
        notes: dict, as JSON has it.
        keep: int, how many checkpoints to keep, this one included.

    Returns:
        `Checkpoint`.

    Raises:
        OSError: where it cannot be written; those there were are still there then.
    """
    folder = workdir / "checkpoints"
    partial = folder / ".partial"
    target = folder / f"step_{step}"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        np.savez(partial / STATE, **state)
        (partial / NOTES).write_text(json.dumps(notes))
        (partial / SUMS).write_text(
            "".join(f"{_checksum(partial / name)}  {name}\n" for name in (STATE, NOTES))
        )
        for path in (*partial.iterdir(), partial):
            durable.sync(path)
        # There can be one that is damaged, so that the run went on from one before.
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
        durable.sync(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise OSError(
            f"The checkpoint {target} could not be written ({error}); the same command "
            "goes on from the one before"
        ) from error
    earlier = [one for one in _checkpoints(workdir) if one.step < step]
    for one in _checkpoints(workdir):
        if one.step != step and one not in earlier[: keep - 1]:
            shutil.rmtree(one.folder, ignore_errors=True)
    return Checkpoint(target, step)


def newest(workdir):
    """The newest checkpoint that is as it was written; `None` if there is none at all.

    Warns of those that are not.

    Args:
        workdir: `pathlib.Path`, the run's folder, which need not exist.

    Raises:
        ValueError: where there are checkpoints, and all are damaged.
    """
    found = _checkpoints(workdir)
    for one in found:
        damage = one.damage()
        if damage is None:
            return one
        warnings.warn(
            f"The checkpoint {one.folder} is damaged, so that the run goes back to the "
            f"one before: {damage}",
            stacklevel=2,
        )
    if found:
        raise ValueError(
            f"All checkpoints in {workdir / 'checkpoints'} are damaged; delete that "
            "folder to train from the beginning"
        )
    return None


def check_space(workdir, checkpoint_bytes, keep, model_bytes):
    """Checks that what a run writes fits on its disk.

    Args:
        workdir: `pathlib.Path`, the run's folder, which need not exist.
        checkpoint_bytes: int, bytes of one checkpoint.
        keep: int, how many of them are kept.
        model_bytes: int, bytes of the trained model.

    Raises:
        ValueError: where the disk is too full.
    """
    # One more than is kept: the next is written before the oldest is deleted.
    needed = (keep + 1) * checkpoint_bytes + model_bytes
    there = (workdir / "checkpoints").rglob("*")
    written = sum(file.stat().st_size for file in there if file.is_file())
    existing = next(path for path in (workdir, *workdir.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free + written < needed:
        raise ValueError(
            f"The disk of `--workdir` is too full: it has {_size(free)} free, and "
            f"{keep + 1} checkpoints of {_size(checkpoint_bytes)} "
            f"(`config.checkpoints.keep` and one) and a model of {_size(model_bytes)} "
            f"need {_size(needed - written)}. Received: --workdir={workdir}"
        )


def _size(num_bytes):
    return f"{num_bytes / 1e6:,.1f} MB"


def _checkpoints(workdir):
    """All checkpoints of a run, damaged ones too, the newest first."""
    folders = (workdir / "checkpoints").glob("step_*")
    matches = ((folder, re.fullmatch(r"step_(\d+)", folder.name)) for folder in folders)
    found = [Checkpoint(folder, int(match[1])) for folder, match in matches if match]
    return sorted(found, key=lambda one: one.step, reverse=True)


def _checksum(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
