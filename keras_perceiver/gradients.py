"""Functions with gradients of their own, on every backend."""

import keras
from keras import ops


def with_gradient(function):
    """A function of tensors whose gradient is as given.

    Args:
        function: function of tensors to the pair of a result, and of a function from
            the gradient of the result to those of the tensors, one or a tuple.

    Returns:
        Function of the same tensors to the result.
    """

    def differentiable(*tensors):
        result, gradient = function(*tensors)

        def of_upstream(*args, upstream=None):
            # Backends differ in how they hand it over.
            if upstream is None:
                (upstream,) = args
            return gradient(upstream)

        return result, of_upstream

    if keras.config.backend() == "numpy":
        # It has no gradients, and Keras would warn of that.
        return lambda *tensors: differentiable(*tensors)[0]
    return ops.custom_gradient(differentiable)
