"""The folder of a run: whose it is, and what was logged there."""

import csv
import errno
import fcntl
import io
import json
import os
import platform
import time
import warnings

import keras

import durable

# Files that this process has locked, which it leaves open to its end.
_LOCKED = set()

# What of a config may change while a run goes on: where it runs and who may use the
# model, not what it learns.
CHANGEABLE = ("strategy", "data.service", "license")


def check_workdir(workdir, config, is_chief=True):
    """Checks, before anything is computed, that the run can have its folder.

    A folder that exists is locked from then on, a new one from `claim` on.

    Args:
        workdir: path of the run's folder, which need not exist.
        config: the run's config.
        is_chief: bool, whether this process is the one that writes to it.

    Raises:
        ValueError: where the folder cannot be written, or holds another run, or one
            that is going on.
    """
    existing = next(path for path in (workdir, *workdir.parents) if path.exists())
    inside = [workdir / "checkpoints"] if (workdir / "checkpoints").exists() else []
    for path in (existing, *inside):
        if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
            raise ValueError(
                "`--workdir` must be a folder that can be written, and "
                f"{str(path)!r} is none. Received: --workdir={workdir}"
            )
    if existing == workdir and is_chief:
        lock(workdir)
    file = workdir / "config.json"
    if file.exists():
        old, new = (flat(c) for c in (json.loads(file.read_text()), _as_dict(config)))
        names = (old.keys() | new.keys()).difference(CHANGEABLE)
        changed = sorted(name for name in names if old.get(name) != new.get(name))
        if changed:
            raise ValueError(
                f"`--workdir` holds a run with another config, which differs in "
                f"{changed}; choose another folder or delete it. "
                f"Received: --workdir={workdir}"
            )


def lock(workdir):
    """Keeps all other processes from running in a folder, while this one lives.

    Args:
        workdir: path of a folder.

    Raises:
        ValueError: where another process has it.
    """
    path = workdir.resolve() / ".lock"
    if path in _LOCKED:
        return
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(file, 1000).decode().strip()
        os.close(file)
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise ValueError(
                f"Another run is going on in `--workdir`: {holder}. "
                f"Received: --workdir={workdir}"
            ) from None
        warnings.warn(
            f"Nothing keeps a second run out of {workdir}, whose file system has no "
            f"locks ({error})",
            stacklevel=2,
        )
        return
    os.ftruncate(file, 0)
    os.write(file, f"process {os.getpid()} on {platform.node()}\n".encode())
    _LOCKED.add(path)


def claim(workdir, config, data):
    """Makes the folder of a run, once nothing is left to be found wrong.

    Args:
        workdir: path of the run's folder.
        config: the run's config.
        data: dict of what the data is: classes, shapes, numbers of items.

    Raises:
        ValueError: where the run had begun with other data, or is going on.
    """
    file = workdir / "data.json"
    data = json.loads(json.dumps(data))
    if file.exists():
        old = json.loads(file.read_text())
        changed = sorted(key for key in data if old.get(key) != data[key])
        if changed:
            raise ValueError(
                "The data is no longer that of the run in `--workdir`: it differs in "
                f"{changed}; choose another folder. Received: --workdir={workdir}"
            )
    workdir.mkdir(parents=True, exist_ok=True)
    lock(workdir)
    write_json(file, data)
    write_json(workdir / "config.json", _as_dict(config))


def report_lines(workdir, name, lines):
    """Writes lines to a file of the folder `report`; nothing if they are `None`."""
    if lines is None:
        return
    report = workdir / "report"
    report.mkdir(parents=True, exist_ok=True)
    (report / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _as_dict(config):
    return json.loads(config.to_json_best_effort())


def flat(config, prefix=""):
    """A nested dict as one whose keys are dotted."""
    found = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def write_json(file, data):
    """Writes a JSON file whole or not at all."""
    durable.write_text(file, json.dumps(data, indent=2, allow_nan=False) + "\n")


class EpochSeconds(keras.callbacks.Callback):
    """Logs how long each epoch took, validation included.

    "seconds" are those of the clock; "core_seconds" those of all processor cores, which
    other work on the machine does not add to.

    Attributes:
        earlier: pair of floats, both kinds of seconds that the epoch had taken before
            the run was stopped.
    """

    def __init__(self):
        super().__init__()
        self.earlier = (0.0, 0.0)

    def spent(self):
        """Pair of floats, both kinds of seconds that the epoch has taken so far."""
        now = time.perf_counter(), time.process_time()
        return tuple(
            end - start + earlier
            for end, start, earlier in zip(now, self._start, self.earlier, strict=True)
        )

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"], logs["core_seconds"] = self.spent()
        self.earlier = (0.0, 0.0)


class EpochLog(keras.callbacks.Callback):
    """Writes what `fit` logs to `history.csv`, a row an epoch, and has what it holds.

    Args:
        workdir: path of the run's folder.
        num_epochs: int, how many epochs a run that goes on is past. Rows of later
            epochs, which it trains again, are dropped.
    """

    def __init__(self, workdir, num_epochs):
        super().__init__()
        self._file = workdir / "history.csv"
        self._rows = []
        if self._file.exists():
            with open(self._file, newline="") as file:
                rows = list(csv.DictReader(file))
            self._rows = [row for row in rows if int(row["epoch"]) < num_epochs]

    @property
    def num_epochs(self):
        """How many epochs there are up to the last that is logged."""
        return int(self._rows[-1]["epoch"]) + 1 if self._rows else 0

    def history(self):
        """Dict from the names of what is logged to lists of floats, one an epoch."""
        return {
            name: [float(row[name]) for row in self._rows] for name in self._rows[0]
        }

    def on_train_begin(self, logs=None):
        self._write()

    def on_epoch_end(self, epoch, logs=None):
        self._rows.append({"epoch": epoch, **dict(sorted(logs.items()))})
        self._write()

    def _write(self):
        text = io.StringIO()
        writer = csv.DictWriter(text, self._rows[0] if self._rows else ["epoch"])
        writer.writeheader()
        writer.writerows(self._rows)
        durable.write_text(self._file, text.getvalue())
