"""Who can be measured, and whether all compute one function."""

import dataclasses
import importlib.util
from collections.abc import Callable

import numpy as np
import tensorflow as tf

# Of the largest number of an output, where it is compared with ours.
TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Runner:
    """One implementation, ready to run; its functions return when it is done.

    Attributes:
        forward: function to the output, as an array.
        training: function that computes the output and the gradients of what learns;
            `None` where there is none.
    """

    forward: Callable
    training: Callable | None = None

    def runs(self, quantities):
        """dict quantity -> function, of those that there are."""
        runs = {quantity: getattr(self, quantity) for quantity in quantities}
        return {quantity: run for quantity, run in runs.items() if run is not None}


@dataclasses.dataclass(frozen=True)
class Contestant:
    """An implementation, before it is made.

    Attributes:
        make: function of a task to a `Runner`.
        package: the optional package that it needs, if any.
        is_reference: bool. `True` is a point of reference, which computes something
            else and whose output is compared with nothing.
    """

    make: Callable
    package: str | None = None
    is_reference: bool = False


def installed(contestants, names=None):
    """Those whose package is there; says so where it is not.

    Args:
        contestants: dict name -> `Contestant`.
        names: list of names, or `None` for all.

    Returns:
        dict name -> `Contestant`, in the order of the names.
    """
    found = {}
    for name in names or contestants:
        package = contestants[name].package
        if is_installed(package):
            found[name] = contestants[name]
        else:
            print(f"{name} is left out: the package {package} is not installed.")
    return found


def is_installed(package):
    """Whether an optional package is there; `None` is no package."""
    return package is None or importlib.util.find_spec(package) is not None


def check_outputs(contestants, runs, reference, residual=0.0):
    """Difference of each output to ours; who does not compute the same is left out.

    Args:
        contestants: dict name -> `Contestant`.
        runs: dict name -> dict with a function `"forward"` to an array.
        reference: array, the output to compare with.
        residual: array that every output contains as it was handed over; it is
            compared with nothing.

    Returns:
        dict name -> float, or `None` for a point of reference.
    """
    differences = {}
    for name, functions in runs.items():
        if contestants[name].is_reference:
            differences[name] = None
            continue
        difference = difference_to(reference, functions["forward"](), residual)
        if difference <= TOLERANCE:
            differences[name] = difference
        else:
            print(
                f"  {name} is left out: its output differs from ours by "
                f"{difference:.1e} of the largest, more than {TOLERANCE:g}"
            )
    return differences


def difference_to(reference, output, residual=0.0):
    """The largest difference, relative to the largest of what was computed."""
    computed = np.abs(reference - residual).max()
    return float(np.abs(output - reference).max() / computed)


def wait(x):
    """Returns when the numbers of a tensor are there; a GPU runs ahead."""
    return tf.reshape(x, (-1,))[-1].numpy()
