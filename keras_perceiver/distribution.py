"""Keras under the strategies of `tf.distribute`, its flaws mended.

Call `mend_keras` once, before a model is compiled; then `fit` and `evaluate` of several
workers are those of one device:

    from keras_perceiver.distribution import mend_keras

    mend_keras()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = ...
        model.compile(...)
    model.fit(...)

It is for TensorFlow, and nothing else of the package imports it.
"""

import warnings

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import optimizer as keras_optimizer
from keras.src.backend.tensorflow import trainer as keras_trainer

# The versions of Keras that are known to have these flaws, up to the first not looked
# at.
FIRST_FLAWED, FIRST_UNKNOWN = (3, 15), (3, 16)


def mend_keras():
    """Puts right what Keras 3.15 does wrong under a `tf.distribute` strategy.

    - `fit` and `evaluate` of several workers fail, as the trainer takes the mean of the
      workers' batches to learn their shapes
      (https://github.com/keras-team/keras/issues/20585).
    - Having come that far they fail again, as it takes the mean of scalars over their
      axis 0.
    - Gradients are clipped before they are added up: each replica clips its own, and
      the step is another than that of one device.
    - With mixed_float16, each replica decides by its own gradients whether to skip a
      step.

    Calling it again changes nothing. Of a version of Keras that is not known to have
    these flaws nothing is changed, and a warning says so.
    """
    version = tuple(int(number) for number in keras.__version__.split(".")[:2])
    if not FIRST_FLAWED <= version < FIRST_UNKNOWN:
        warnings.warn(
            f"`mend_keras` knows Keras 3.15 and leaves {keras.__version__} as it is.",
            stacklevel=2,
        )
        return
    _mend_symbolic_build()
    _mend_means_of_scalars()
    _mend_clipping()
    _mend_check_for_finite_gradients()


def _mend_symbolic_build():
    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        strategy = self._distribute_strategy
        if strategy is None:
            return
        if iterator is not None:
            _, _, batches = next(iter(iterator))
            # A model is built for any number of examples, so any part tells enough.
            data_batch = keras.tree.map_structure(
                lambda x: strategy.experimental_local_results(x)[0], next(batches)
            )
        with strategy.scope():
            self._symbolic_build(data_batch=data_batch)

    keras_trainer.TensorFlowTrainer._maybe_symbolic_build = _maybe_symbolic_build


def _mend_means_of_scalars():
    if hasattr(keras_trainer.reduce_per_replica, "of_keras"):
        return
    of_keras = keras_trainer.reduce_per_replica

    def reduce_per_replica(values, strategy, reduction):
        # Of several workers "auto" is the mean: TPUs are of one.
        if reduction in ("auto", "mean") and is_multi_worker(strategy):
            return keras.tree.map_structure(
                lambda x: strategy.reduce("MEAN", x, axis=None), values
            )
        return of_keras(values, strategy, reduction)

    reduce_per_replica.of_keras = of_keras
    keras_trainer.reduce_per_replica = reduce_per_replica


def _mend_clipping():
    optimizer = keras_optimizer.TFOptimizer
    if hasattr(optimizer._all_reduce_sum_gradients, "of_keras"):
        return
    add_up = optimizer._all_reduce_sum_gradients
    clip = optimizer._clip_gradients

    def _clip_gradients(self, grads):
        pairs = add_up(self, [(gradient, None) for gradient in grads])
        return clip(self, [gradient for gradient, _ in pairs])

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars  # Since they were clipped.

    _all_reduce_sum_gradients.of_keras = add_up
    optimizer._clip_gradients = _clip_gradients
    optimizer._all_reduce_sum_gradients = _all_reduce_sum_gradients


def _mend_check_for_finite_gradients():
    optimizer = keras.optimizers.LossScaleOptimizer
    if hasattr(optimizer.check_finite, "of_keras"):
        return
    of_keras = optimizer.check_finite

    def check_finite(self, grads):
        is_finite = of_keras(self, grads)
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return is_finite
        num_others = tf.cast(tf.logical_not(is_finite), tf.float32)
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, num_others) == 0

    check_finite.of_keras = of_keras
    optimizer.check_finite = check_finite


def is_multi_worker(strategy):
    """Whether several processes train one model by a `tf.distribute` strategy."""
    return (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and strategy.extended._in_multi_worker_mode()
    )
