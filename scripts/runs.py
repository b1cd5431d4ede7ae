"""A run's folder and its flags: what a training script needs around the training."""

import csv
import difflib
import functools
import json
import os
import re
import runpy
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from absl import flags

STRATEGIES = {
    "none": tf.distribute.get_strategy,
    "mirrored": tf.distribute.MirroredStrategy,
}


def parse_flags(argv):
    """Parses flags; a wrong one ends the program with one sentence.

    Args:
        argv: list of strings, the program's name first.

    Returns:
        The arguments that are no flags.
    """
    try:
        remaining = flags.FLAGS(argv)
        for name in ("config", "workdir"):
            if flags.FLAGS[name].value is None:
                raise ValueError(f"`--{name}` must be given. Received: no --{name}")
        return remaining
    # Whatever a config file or a flag does wrong, the user reads one sentence.
    except (
        flags.Error,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:
        exit_with(_flag_sentence(error, argv))


def _flag_sentence(error, argv):
    """One sentence for a flag that is wrong, with the nearest key if there is one."""
    known = _known_keys(argv)
    for argument in argv[1:]:
        match = re.match(r"--config\.([\w.]+)", argument)
        if known and match and match[1] not in known:
            nearest = difflib.get_close_matches(match[1], known, n=1, cutoff=0.0)[0]
            return (
                f"`--config.{match[1]}` is not a key of the config; the nearest is "
                f"`--config.{nearest}`. Received: {argument}"
            )
    return " ".join(str(error).split())


def _known_keys(argv):
    """All keys of the config file that the flags name; none where it is unreadable."""
    file = re.search(r"(?:^|\0)--?config[=\0]([^\0:]+)", "\0".join(argv))
    if not file or not os.path.isfile(file[1]):
        return []
    return list(_keys(runpy.run_path(file[1])["get_config"]()))


def _keys(config, prefix=""):
    """All keys of a nested config, dotted."""
    for key, value in config.items():
        if hasattr(value, "items"):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def sentences(main):
    """A `main` whose `ValueError` ends the program with its sentence alone."""

    @functools.wraps(main)
    def wrapped(argv):
        try:
            main(argv)
        except (ValueError, OSError, ImportError) as error:
            if os.environ.get("KERAS_PERCEIVER_TRACEBACK"):
                raise
            exit_with(str(error))

    return wrapped


def exit_with(sentence):
    """Ends the program with a sentence on stderr and exit status 2."""
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2)


def strategy(name):
    """The `tf.distribute` strategy of a config."""
    if name not in STRATEGIES:
        raise ValueError(
            f"`config.strategy` must be one of {sorted(STRATEGIES)}. "
            f"Received: strategy={name!r}"
        )
    return STRATEGIES[name]()


def claim(workdir, config):
    """Makes the folder of a run, or checks that it is one of the same config.

    Raises:
        ValueError: where the folder cannot be written, or holds another run.
    """
    text = json.loads(config.to_json_best_effort())
    file = workdir / "config.json"
    if file.exists():
        changed = sorted(
            key
            for key, value in _flat(text).items()
            if _flat(json.loads(file.read_text())).get(key) != value
        )
        if changed:
            raise ValueError(
                f"`--workdir` holds a run with another config, which differs in "
                f"{changed}; choose another folder or delete it. "
                f"Received: --workdir={workdir}"
            )
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(file, text)
    except OSError as error:
        raise ValueError(
            f"`--workdir` must be a folder that can be written ({error.strerror}). "
            f"Received: --workdir={workdir}"
        ) from None


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
    partial.write_text(json.dumps(data, indent=2) + "\n")
    partial.replace(file)


def describe(sources, shape):
    """Prints what the data is, before anything is trained."""
    counts = ", ".join(f"{s.num_items:,} {split}" for split, s in sources.items())
    classes = sources["train"].classes
    height, width = shape["image_size"]
    names = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
    print(f"Data: {counts} images of {height} x {width} x {shape['channels']}.")
    print(f"{len(classes)} classes: {names}")


class EpochSeconds(keras.callbacks.Callback):
    """Logs how long each epoch took, validation included."""

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = time.perf_counter() - self._start


class DropoutSeeds(keras.callbacks.Callback):
    """Saves and restores where dropout's random numbers are; weight files do not.

    Args:
        workdir: the run's folder.
    """

    def __init__(self, workdir):
        super().__init__()
        self._workdir = workdir

    def on_train_begin(self, logs=None):
        file = self._file(epochs_done(self._workdir))
        if file.exists():
            states = np.load(file)
            for i, state in enumerate(self._states()):
                state.assign(states[f"arr_{i}"])

    def on_epoch_end(self, epoch, logs=None):
        # One file an epoch, so that weights and seeds of one checkpoint agree
        # wherever the run is killed.
        file = self._file(epoch + 1)
        file.parent.mkdir(exist_ok=True)
        np.savez(file, *(state.numpy() for state in self._states()))
        self._file(epoch - 1).unlink(missing_ok=True)

    def _states(self):
        return [v for v in self.model.variables if "seed_generator" in v.path]

    def _file(self, epoch):
        return self._workdir / "checkpoints" / f"dropout_seeds_{epoch}.npz"


def epochs_done(workdir):
    """How many epochs the checkpoint of a run has behind it."""
    file = workdir / "checkpoints" / "training_metadata.json"
    return json.loads(file.read_text())["epoch"] if file.exists() else 0


def restore(model, workdir):
    """Loads the weights of a run's checkpoint, optimizer included."""
    model.optimizer.build(model.trainable_variables)
    model.load_weights(str(workdir / "checkpoints" / "latest.weights.h5"))


def history(workdir):
    """What `fit` logged, resumed runs included: dict name -> one value an epoch."""
    with open(workdir / "history.csv", newline="") as file:
        # An epoch that a killed run had logged and not saved was trained again.
        rows = {int(row["epoch"]): row for row in csv.DictReader(file)}
    epochs = [rows[epoch] for epoch in sorted(rows)]
    return {name: [float(row[name]) for row in epochs] for name in epochs[0]}


def check_finite(history):
    """Raises `ValueError` where the loss of the last epoch is not a number."""
    loss = history["loss"][-1]
    if loss != loss or loss in (float("inf"), float("-inf")):
        raise ValueError(
            f"The loss became {loss} in epoch {len(history['loss'])}; a lower "
            "`config.optimizer.learning_rate` may help"
        )
