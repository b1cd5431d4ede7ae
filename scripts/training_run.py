"""A run's folder and its flags: what a training script needs around the training."""

import contextlib
import csv
import difflib
import functools
import json
import os
import re
import runpy
import shutil
import sys
import time
import warnings

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from pipelines import duplicates
from pipelines.sources import SPLITS, load_source, without

# Policies for files that cannot be read.
BAD_FILES = ("error", "skip")
STRATEGIES = {
    "none": tf.distribute.get_strategy,
    "mirrored": tf.distribute.MirroredStrategy,
}


def parse_flags(argv, required=("config", "workdir")):
    """Parses flags; a wrong one ends the program with one sentence.

    Args:
        argv: list of strings, the program's name first.
        required: sequence of strings, the flags that must be given.

    Returns:
        The arguments that are no flags.
    """
    for name in required:
        if not any(re.match(rf"--?{name}\b(?!\.)", argument) for argument in argv):
            exit_with(f"`--{name}` must be given. Received: no --{name}")
    try:
        remaining = flags.FLAGS(argv)
    # A config file is a program of the user's, and may do anything wrong.
    except Exception as error:
        exit_with(_flag_sentence(error, argv))
    if "workdir" in required and not flags.FLAGS.workdir:
        exit_with("`--workdir` must name a folder. Received: --workdir=")
    return remaining


def _flag_sentence(error, argv):
    """One sentence for a flag that is wrong, with the nearest key if there is one."""
    known = _known_keys(argv)
    for argument in argv[1:]:
        match = re.match(r"--?(?:no)?config\.([\w.]+)", argument)
        if known and match and match[1] not in known:
            nearest = difflib.get_close_matches(match[1], known, n=1, cutoff=0.0)[0]
            return (
                f"`--config.{match[1]}` is not a key of the config; the nearest is "
                f"`--config.{nearest}`. Received: {argument}"
            )
    name = type(error).__name__
    return f"The flags or the config file are wrong ({name}): " + " ".join(
        str(error).split()
    )


def _known_keys(argv):
    """All keys of the config file that the flags name; none where it is unreadable."""
    file = re.search(r"(?:^|\0)--?config[=\0]([^\0:]+)", "\0".join(argv))
    try:
        return list(_keys(runpy.run_path(file[1])["get_config"]()))
    except Exception:
        return []


def _keys(config, prefix=""):
    """All keys of a nested config, dotted."""
    for key, value in config.items():
        if hasattr(value, "items"):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def sentences(main):
    """A `main` whose foreseen errors end the program with their sentence alone.

    The environment variable `KERAS_PERCEIVER_TRACEBACK=1` shows where they come from.
    """

    @functools.wraps(main)
    def wrapped(argv):
        # Where in the code a warning comes from is of no use to a user of a script.
        warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
        try:
            main(argv)
        except KeyboardInterrupt:
            print("\nInterrupted; the same command resumes.", file=sys.stderr)
            raise SystemExit(130) from None
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
        changed = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
        if changed:
            raise ValueError(
                f"`--workdir` holds a run with another config, which differs in "
                f"{changed}; choose another folder or delete it. "
                f"Received: --workdir={workdir}"
            )


def load_sources(config):
    """The splits of the data of a config, a dict from their names to `Source`."""
    return {
        split: load_source(
            config.data.source,
            split,
            modality=config.modality,
            seed=config.seed,
            validation_fraction=config.data.validation_fraction,
            test_fraction=config.data.test_fraction,
        )
        for split in SPLITS
    }


def check_length(config):
    """Raises `ValueError` unless a config says how long to train."""
    name = "steps" if config.epochs is None else "epochs"
    if config[name] < 1:
        raise ValueError(f"`{name}` must be at least 1. Received: {config[name]}")


def num_epochs(config, steps_per_epoch):
    """How many epochs to train: those of the config, or what its steps amount to."""
    return config.epochs or max(1, round(config.steps / steps_per_epoch))


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


@contextlib.contextmanager
def section(name):
    """Says of an error inside which section of the config has what it names."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"`config.{name}`: {error}") from error


@contextlib.contextmanager
def readable_errors(recipe, sources):
    """Names the file that could not be read, in whichever part of the data it is."""
    with contextlib.ExitStack() as stack:
        for source in sources.values():
            stack.enter_context(recipe.readable_errors(source))
        yield


def check_bad_files(data):
    """Raises `ValueError` unless the `bad_files` of a section `data` is a policy."""
    if data.bad_files not in BAD_FILES:
        raise ValueError(
            f"`config.data.bad_files` must be one of {list(BAD_FILES)}. "
            f"Received: bad_files={data.bad_files!r}"
        )


def readable_sources(sources, recipe, data, workdir):
    """The sources without the items that cannot be read, where the config says so.

    All items are read once. What is left out is counted on the terminal and listed in
    `report/skipped.txt`.

    Args:
        sources: dict from the names of splits to `Source`.
        recipe: `Recipe`.
        data: the section `data` of a config.
        workdir: path of the run's folder.

    Returns:
        Dict of the same splits.

    Raises:
        ValueError: where more items than `data.max_skipped_fraction` of all splits
            together cannot be read, or none of a split can.
    """
    if data.bad_files == "error":
        return sources
    num_items = sum(source.num_items for source in sources.values())
    limit = data.max_skipped_fraction * num_items
    kept, sentences = {}, []
    for split, source in sources.items():
        skipped = []
        for index, sentence in recipe.unreadable(source):
            skipped.append(index)
            sentences.append(f"{split}: {sentence}")
            if len(sentences) > limit:
                raise ValueError(
                    f"More than {data.max_skipped_fraction:.1%} of all {num_items:,} "
                    "items cannot be read (`config.data.max_skipped_fraction`); one "
                    f"of them: {sentence}"
                )
        if len(skipped) == source.num_items:
            raise ValueError(f"No {split} item can be read; the last: {sentence}")
        kept[split] = without(source, skipped)
    report = workdir / "report"
    report.mkdir(parents=True, exist_ok=True)
    (report / "skipped.txt").write_text("".join(f"{s}\n" for s in sentences))
    if sentences:
        print(f"Skipped {len(sentences)} unreadable files: {report / 'skipped.txt'}")
    return kept


def find_duplicates(sources, data):
    """Finds and counts what is both held out and in training.

    Args:
        sources: dict from the names of splits to `Source`.
        data: the section `data` of a config.

    Returns:
        List of lines for `report/duplicates.txt`; None where the config wants none.
    """
    if not data.check_duplicates:
        return None
    lines = []
    for split in ("validation", "test"):
        pairs = duplicates.find_duplicates(sources[split], sources["train"])
        lines += [f"{split}: {twin} = {original}" for twin, original in pairs]
        if pairs:
            print(
                f"{len(pairs):,} of {sources[split].num_items:,} {split} items are "
                f"also in training (e.g. {pairs[0][0]} = {pairs[0][1]})"
            )
    return lines


def report_duplicates(lines, workdir):
    """Writes what `find_duplicates` found to `report/duplicates.txt`."""
    if lines is None:
        return
    report = workdir / "report"
    report.mkdir(parents=True, exist_ok=True)
    (report / "duplicates.txt").write_text("".join(f"{line}\n" for line in lines))


def describe(sources, recipe):
    """Prints what the data is, before anything is trained."""
    counts = ", ".join(f"{s.num_items:,} {split}" for split, s in sources.items())
    classes = sources["train"].classes
    kind = "classes, several for an item" if sources["train"].multi_label else "classes"
    names = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
    print(f"Data: {counts}; {recipe.describe()}.")
    print(f"{len(classes)} {kind}: {names}")


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


class Checkpoints(keras.callbacks.Callback):
    """Saves all a run needs to go on, after each epoch, whole or not at all.

    A checkpoint is a folder, `checkpoints/epoch_N`: the weights with the optimizer's
    state, and where dropout's random numbers are, which weight files do not hold. It is
    written beside and renamed, so that a run killed at any moment finds either this
    epoch's or the one before.

    Args:
        workdir: the run's folder.
    """

    def __init__(self, workdir):
        super().__init__()
        self._folder = workdir / "checkpoints"

    def on_epoch_end(self, epoch, logs=None):
        if not np.isfinite([logs["loss"], logs.get("val_loss", 0.0)]).all():
            return  # The last good checkpoint stays the last.
        partial = self._folder / ".partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self.model.save_weights(partial / "state.weights.h5")
        seeds = [variable.numpy() for variable in _seeds(self.model)]
        np.savez(partial / "seeds.npz", *seeds)
        partial.rename(self._folder / f"epoch_{epoch + 1}")
        for older in range(epoch + 1):
            shutil.rmtree(self._folder / f"epoch_{older}", ignore_errors=True)


def epochs_done(workdir):
    """How many epochs the newest checkpoint of a run has behind it."""
    folders = (workdir / "checkpoints").glob("epoch_*")
    return max(
        (int(folder.name.removeprefix("epoch_")) for folder in folders), default=0
    )


def restore(model, workdir):
    """Loads the newest checkpoint of a run, if there is one.

    Returns:
        The number of epochs it has behind it.
    """
    epoch = epochs_done(workdir)
    if epoch:
        folder = workdir / "checkpoints" / f"epoch_{epoch}"
        model.optimizer.build(model.trainable_variables)
        model.load_weights(folder / "state.weights.h5")
        with np.load(folder / "seeds.npz") as seeds:
            for i, variable in enumerate(_seeds(model)):
                variable.assign(seeds[f"arr_{i}"])
    return epoch


def _seeds(model):
    return [v for v in model.variables if "seed_generator" in v.path]


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
