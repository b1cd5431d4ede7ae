"""The folder of a run: whose it is, and what was logged there."""

import csv
import json
import os
import time

import keras
import numpy as np

# What of a config may change while a run goes on: where it runs, not what it learns.
PLACES = ("strategy", "data.service")


def check_workdir(workdir, config):
    """Checks, before anything is computed, that the run can have its folder.

    Args:
        workdir: path of the run's folder, which need not exist.
        config: the run's config.

    Raises:
        ValueError: where the folder cannot be written, or holds another run.
    """
    existing = next(path for path in (workdir, *workdir.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(
            "`--workdir` must be a folder that can be written, and "
            f"{str(existing)!r} is none. Received: --workdir={workdir}"
        )
    file = workdir / "config.json"
    if file.exists():
        old, new = (_flat(c) for c in (json.loads(file.read_text()), _as_dict(config)))
        names = (old.keys() | new.keys()).difference(PLACES)
        changed = sorted(name for name in names if old.get(name) != new.get(name))
        if changed:
            raise ValueError(
                f"`--workdir` holds a run with another config, which differs in "
                f"{changed}; choose another folder or delete it. "
                f"Received: --workdir={workdir}"
            )


def claim(workdir, config, data):
    """Makes the folder of a run, once nothing is left to be found wrong.

    Args:
        workdir: path of the run's folder.
        config: the run's config.
        data: dict of what the data is: classes, shapes, numbers of items.

    Raises:
        ValueError: where the run had begun with other data.
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
    write_json(file, data)
    write_json(workdir / "config.json", _as_dict(config))


def report_lines(workdir, name, lines):
    """Writes lines to a file of the folder `report`; nothing if they are `None`."""
    if lines is None:
        return
    report = workdir / "report"
    report.mkdir(parents=True, exist_ok=True)
    (report / name).write_text("".join(f"{line}\n" for line in lines))


def _as_dict(config):
    return json.loads(config.to_json_best_effort())


def _flat(config, prefix=""):
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def write_json(file, data):
    """Writes a JSON file whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n")
    partial.replace(file)


class EpochSeconds(keras.callbacks.Callback):
    """Logs how long each epoch took, validation included.

    "seconds" are those of the clock; "core_seconds" those of all processor cores, which
    other work on the machine does not add to.
    """

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter(), time.process_time()
        logs["seconds"], logs["core_seconds"] = (
            end - start for end, start in zip(now, self._start, strict=True)
        )


def history(workdir):
    """What `fit` logged, resumed runs included: dict name -> one value an epoch."""
    with open(workdir / "history.csv", newline="") as file:
        # An epoch that a killed run had logged and not saved was trained again.
        rows = {int(row["epoch"]): row for row in csv.DictReader(file)}
    epochs = [rows[epoch] for epoch in sorted(rows)]
    return {name: [float(row[name]) for row in epochs] for name in epochs[0]}


def check_finite(history):
    """Raises `ValueError` where a loss of any epoch is not a finite number."""
    for name in ("loss", "val_loss"):
        for epoch, loss in enumerate(history.get(name, []), start=1):
            if not np.isfinite(loss):
                raise ValueError(
                    f"The loss became {loss} ({name}, epoch {epoch}); a lower "
                    "`config.optimizer.learning_rate` in a new --workdir may help"
                )
