"""Functions with gradients of their own, on every backend."""

import keras
from keras import ops


def with_gradient(function):
    """A function of tensors whose gradient is as given.

    Args:
        function: function of tensors that reads no variables and returns a pair: its
            result, one tensor, and a function that takes the gradient of the result and
            returns those of the tensors, a tuple, or one alone.

    Returns:
        Function of the same tensors to the result.
    """
    if keras.config.backend() == "numpy":
        # It has no gradients, and Keras would warn of that.
        return lambda *tensors: function(*tensors)[0]

    def differentiable(*tensors):
        result, gradient = function(*tensors)

        def of_upstream(*args, upstream=None):
            # PyTorch hands over the tensors, too, and the gradient by name.
            if upstream is None:
                (upstream,) = args
            return gradient(upstream)

        return result, of_upstream

    return ops.custom_gradient(differentiable)
