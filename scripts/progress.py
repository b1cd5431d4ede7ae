"""What a run shows of itself while it goes on."""

import shutil
import sys

import keras
import tensorflow as tf

import plots
import seeing

# Columns that a bar with all of it takes.
WIDE = 140
# How many times during a run its attention is drawn.
MOST_DRAWINGS = 10
# Memory that this may take; training needs the rest.
MOST_BYTES = 2**28


def verbosity():
    """What `fit` takes as `verbose`: a bar on a terminal, elsewhere a line an epoch."""
    return 1 if sys.stdout.isatty() else 2


class Pace(keras.callbacks.Callback):
    """Logs the learning rate, and the items trained on in a second, of each epoch.

    The progress bar has them all the time on a wide terminal; a narrow one, where Keras
    cannot draw over a bar that takes two lines, at the end of an epoch. The seconds are
    those of training alone; the first epoch of a process has the compiling in it.

    Args:
        timer: `EpochSeconds` of the run, which comes before.
        batch_size: int, items of a step.
    """

    def __init__(self, timer, batch_size):
        super().__init__()
        self._timer = timer
        self._batch_size = batch_size

    def on_train_batch_end(self, batch, logs=None):
        seconds, _ = self._timer.spent()
        self._items_per_second = (batch + 1) * self._batch_size / seconds
        if shutil.get_terminal_size().columns >= WIDE:
            self._add_to(logs)

    def on_epoch_end(self, epoch, logs=None):
        self._add_to(logs)

    def _add_to(self, logs):
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        logs["items_per_second"] = self._items_per_second


class AttentionImages(keras.callbacks.Callback):
    """Draws what a model attends to for TensorBoard, some times during a run.

    Args:
        folder: path of the folder of TensorBoard's files.
        examples: `tf.data.Dataset` of one pair, a batch of what the model takes, and
            labels.
        epochs: int, length of the run.
    """

    def __init__(self, folder, examples, epochs):
        super().__init__()
        self._folder = folder
        self._examples = examples
        self._batch = None
        self._every = -(-epochs // MOST_DRAWINGS)
        self._has_figures = True  # As far as is known; texts have none.

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self._every or not self._has_figures:
            return
        if self._batch is None:
            ((self._batch, _),) = self._examples
        figures = seeing.look(self.model, self._batch, MOST_BYTES).figures
        if not figures:
            self._has_figures = False
            return
        with tf.summary.create_file_writer(str(self._folder)).as_default():
            for name, drawing in figures.items():
                pixels = tf.io.decode_png(plots.png(drawing), channels=3)
                tf.summary.image(f"attention/{name}", pixels[None], step=epoch)
