"""What a run needs to go on, saved after each epoch."""

import shutil

import keras
import numpy as np


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
