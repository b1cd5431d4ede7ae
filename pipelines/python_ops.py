"""Functions of Python inside `tf.data`, which other processes can run as well.

`tf.numpy_function` gives a function a number that means something in this process
alone, so that no worker of a tf.data service could run it. These go by their names, and
are imported where they are run.
"""

import ast
import functools
import importlib

import tensorflow as tf
from tensorflow.python.ops import script_ops

PREFIX = "pipelines:"
PACKAGE = "pipelines."


def call(function, inputs, dtypes, **settings):
    """As `tf.numpy_function` of a function without effects.

    Args:
        function: one on the top level of a module of `pipelines`.
        inputs: list of tensors, its arguments, as arrays.
        dtypes: dtype, or tuple of dtypes, of what it returns.
        **settings: its keyword arguments: numbers, strings, `None`, tuples of them.

    Returns:
        Tensor, or list of tensors, of unknown shapes.
    """
    if tf.executing_eagerly():
        bound = functools.partial(function, **settings)
        return tf.numpy_function(bound, inputs, dtypes, stateful=False)
    name = (function.__module__, function.__qualname__, settings)
    token = f"{PREFIX}{name!r}"
    _find(token)  # Fails here and not in a worker.
    is_one = not isinstance(dtypes, tuple)
    results = tf.raw_ops.PyFuncStateless(
        input=[tf.convert_to_tensor(x) for x in inputs],
        token=token,
        Tout=[dtypes] if is_one else list(dtypes),
    )
    return results[0] if is_one else results


@functools.cache
def _find(token):
    module, name, settings = ast.literal_eval(token.removeprefix(PREFIX))
    if not module.startswith(PACKAGE):
        raise ValueError(f"A module of pipelines was expected. Received: {module}")
    function = getattr(importlib.import_module(module), name)
    return functools.partial(function, **settings)


def _get(token, default=None):
    if token.startswith(PREFIX):
        return _find(token)
    return _get_of_tensorflow(token, default)


# Where TensorFlow looks functions up when it runs them.
_get_of_tensorflow = script_ops._py_funcs.get
script_ops._py_funcs.get = _get
