"""How a run goes on where it was stopped, as if it had not been.

All that a run is at a step goes into a checkpoint: weights, the optimizer's state with
its averages and gradients of half an update, where dropout's random numbers are, the
metrics of the epoch so far and the time it took. What is random in the data follows
from the step. Checkpoints are made while training alone: an epoch that is trained, and
not yet in the log of epochs, is validated again.
"""

import contextlib
import signal

import keras
import numpy as np
import tensorflow as tf

import checkpoints
import strategies
from command_line import Terminated
from keras_perceiver.distribution import is_multi_worker


def check(config):
    """Checks a section `checkpoints`, before anything is computed.

    Raises:
        ValueError: where a value is out of its range.
    """
    for name in ("every_steps", "keep"):
        value = config[name]
        if value is not None and value < 1 or name == "keep" and value is None:
            raise ValueError(
                f"`config.checkpoints.{name}` must be at least 1. "
                f"Received: {name}={value}"
            )


def position(step, steps_per_epoch, epochs_logged):
    """Where `fit` has to begin.

    Args:
        step: int, how many batches of the run are behind it.
        steps_per_epoch: int, batches of an epoch.
        epochs_logged: int, how many epochs have been trained and validated.

    Returns:
        Pair of ints: the epoch, and how many of its steps are done. If they all are,
        it is yet to be validated.
    """
    epoch, done = divmod(step, steps_per_epoch)
    if epoch > epochs_logged and not done:
        return epoch - 1, steps_per_epoch
    return epoch, done


def check_space(workdir, model, config):
    """Checks that what a run writes fits on its disk.

    Args:
        workdir: `pathlib.Path`, the run's folder, which need not exist.
        model: compiled `keras.Model` whose optimizer is built.
        config: the section `checkpoints` of a config.

    Raises:
        ValueError: where the disk is too full.
    """
    weights, state = _num_bytes(model.variables), _num_bytes(model.optimizer.variables)
    checkpoints.check_space(workdir, weights + state, config.keep, weights)


def _num_bytes(variables):
    dtypes = (tf.as_dtype(keras.backend.standardize_dtype(v.dtype)) for v in variables)
    return sum(
        int(np.prod(v.shape)) * dtype.size
        for v, dtype in zip(variables, dtypes, strict=True)
    )


def restore(model, checkpoint):
    """Takes a model, whose optimizer is built, to where it was at a checkpoint.

    Args:
        model: compiled `keras.Model`.
        checkpoint: `Checkpoint`.

    Raises:
        ValueError: where it is of another model.
    """
    state = checkpoint.state()
    for part in ("model", "optimizer"):
        _assign(_variables(model)[part], state, part, checkpoint)


def _variables(model):
    return {
        "model": model.variables,
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
    }


def _assign(variables, state, part, checkpoint):
    values = [state[name] for name in state if name.startswith(f"{part}_")]
    if [value.shape for value in values] != [tuple(v.shape) for v in variables]:
        raise ValueError(
            f"The checkpoint {checkpoint.folder} is of another {part}; another version "
            "of the software may have written it"
        )
    for variable, value in zip(variables, values, strict=True):
        # NumPy's files know no bfloat16, only that it has two bytes.
        dtype = keras.ops.convert_to_numpy(variable).dtype
        variable.assign(value.view(dtype))


class DoneSteps(keras.callbacks.Callback):
    """Takes `fit` past the steps of its first epoch that are done.

    `fit` begins all epochs at their first step. Here those that a checkpoint has
    behind it change nothing and take no data, and the metrics are those they had led
    to. So what is logged for the epoch is of the whole epoch.

    Args:
        checkpoint: `Checkpoint`; not looked at where there are no such steps.
        num_steps: int, how many steps to pass over.
        validation: `tf.data.Dataset` of what `model.evaluate` takes.
        timer: `EpochSeconds` of the run.
    """

    def __init__(self, checkpoint, num_steps, validation, timer):
        super().__init__()
        self._checkpoint = checkpoint
        self._num_steps = num_steps
        self._validation = validation
        self._timer = timer

    def on_train_begin(self, logs=None):
        if self._num_steps:
            # Metrics have no variables before a first batch.
            self.model.evaluate(self._validation, steps=1, verbose=0)
            self._timer.earlier = self._checkpoint.notes()["spent"]

    def on_epoch_begin(self, epoch, logs=None):
        if not self._num_steps:
            return
        model = self.model
        state = self._checkpoint.state()
        _assign(model.metrics_variables, state, "metrics", self._checkpoint)
        train, reached = model.train_function, model.get_metrics_result()

        def pass_over(iterator):
            self._num_steps -= 1
            if not self._num_steps:
                model.train_function = train
            return reached

        model.train_function = pass_over


class Checkpoints(keras.callbacks.Callback):
    """Saves all a run needs to go on, and stops it before that is spoilt.

    A checkpoint is made at the end of each epoch's training, every so many steps, and
    at SIGTERM. Where the loss or a weight is no finite number, none is, and the run
    ends.

    Args:
        workdir: `pathlib.Path`, the run's folder.
        config: the section `checkpoints` of a config.
        steps_per_epoch: int, batches of an epoch.
        timer: `EpochSeconds` of the run.
        resumed: `Checkpoint` that the run went on from, if any.
        strategy: `tf.distribute.Strategy`, if any. Of several workers the chief writes,
            but all collect the state, as the metrics' is spread over them.
        is_chief: bool, whether this process is the one that writes.
    """

    def __init__(
        self,
        workdir,
        config,
        steps_per_epoch,
        timer,
        resumed=None,
        strategy=None,
        is_chief=True,
    ):
        super().__init__()
        self._is_chief = is_chief
        self._has_others = is_multi_worker(strategy)
        self._is_any = strategies.any_worker(strategy)
        self._workdir = workdir
        self._config = config
        self._steps_per_epoch = steps_per_epoch
        self._timer = timer
        self._saved = resumed
        self._saved_step = self._step = resumed.step if resumed else 0
        self._is_terminated = False

    @contextlib.contextmanager
    def at_termination(self):
        """Inside, SIGTERM ends the run as soon as nothing is left to save."""

        def terminate(signum, frame):
            # Several workers end together, after a step.
            if self._step == self._saved_step and not self._has_others:
                raise Terminated
            self._is_terminated = True

        before = signal.signal(signal.SIGTERM, terminate)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        step = self._epoch * self._steps_per_epoch + batch + 1
        if step <= self._step:
            return  # `DoneSteps` passes over it.
        self._step = step
        if not np.isfinite(logs["loss"]):
            self._stop(f"The loss became {logs['loss']}")
        every = self._config.every_steps or self._steps_per_epoch
        is_due = step % every == 0 or step % self._steps_per_epoch == 0
        is_terminated = self._is_any(self._is_terminated)
        if is_due or is_terminated:
            self._save()
        # Also where that came while a checkpoint was being written.
        if is_terminated or (self._is_terminated and not self._has_others):
            raise Terminated

    def on_epoch_end(self, epoch, logs=None):
        if not np.isfinite(logs.get("val_loss", 0.0)):
            self._stop(f"The loss of validation became {logs['val_loss']}")

    def _save(self):
        state = {
            f"{part}_{i}": keras.ops.convert_to_numpy(variable)
            for part, variables in _variables(self.model).items()
            for i, variable in enumerate(variables)
        }
        for array in state.values():
            if not np.isfinite(array).all():
                self._stop("A weight, or a moment of it, became no finite number")
        if self._is_chief:
            notes = {"spent": self._timer.spent()}
            self._saved = checkpoints.save(
                self._workdir, self._step, state, notes, self._config.keep
            )
        # Only now, as SIGTERM may come while it is written.
        self._saved_step = self._step

    def _stop(self, what):
        rate = float(self.model.optimizer.learning_rate)
        last = (
            f"the last good checkpoint is {self._saved.folder}"
            if self._saved
            else "there is no checkpoint yet"
        )
        raise ValueError(
            f"{what} at step {self._step:,} (epoch {self._epoch + 1}), with a learning "
            f"rate of {rate:.4g}; {last}. A lower `config.optimizer.learning_rate` in "
            "a new --workdir may help"
        )
