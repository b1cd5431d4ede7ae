"""Argument checks that the pipelines share."""

import math
import numbers


def check_integer(name, value, minimum):
    """Raises a `ValueError` unless `value` is an integer of at least `minimum`.

    Args:
        name: str, the argument's name for the message.
        value: the value to check.
        minimum: int, the smallest value allowed.

    Raises:
        ValueError: if `value` is no integer or is too small.
    """
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if is_integer and value >= minimum:
        return
    kinds = {0: "a non-negative integer", 1: "a positive integer"}
    kind = kinds.get(minimum, f"an integer of at least {minimum}")
    raise ValueError(f"`{name}` must be {kind}. Received: {name}={value!r}")


def check_seed(seed):
    """Raises a `ValueError` unless `seed` is an integer in [0, 2**32).

    Args:
        seed: the value to check.

    Raises:
        ValueError: if `seed` is no such integer.
    """
    check_integer("seed", seed, 0)
    if seed >= 2**32:
        raise ValueError(f"`seed` must be below 2**32. Received: seed={seed!r}")


def check_choice(name, value, choices):
    """Raises a `ValueError` unless `value` is one of `choices`.

    Args:
        name: str, the argument's name for the message.
        value: the value to check.
        choices: sequence of the values allowed.

    Raises:
        ValueError: if `value` is none of them.
    """
    if value not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(
            f"`{name}` must be one of {allowed}. Received: {name}={value!r}"
        )


def check_range(low, high, *, with_high=False, **values):
    """Raises a `ValueError` for a keyword that is no finite number in a range.

    Args:
        low: number, the lowest value allowed.
        high: number that all values must be below.
        with_high: bool, whether `high` itself is allowed too.
        **values: the values to check, by their names.

    Raises:
        ValueError: if a value is no such number.
    """
    for name, value in values.items():
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        is_inside = is_number and math.isfinite(value) and low <= value < high
        if not is_inside and not (with_high and is_number and value == high):
            end = "]" if with_high else ")"
            raise ValueError(
                f"`{name}` must be a finite number in [{low}, {high}{end}. "
                f"Received: {name}={value!r}"
            )
