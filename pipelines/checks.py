"""Argument checks that the pipelines share."""

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


def check_fraction(name, value):
    """Raises a `ValueError` unless `value` is a number in [0, 1).

    Args:
        name: str, the argument's name for the message.
        value: the value to check.

    Raises:
        ValueError: if `value` is no such number.
    """
    if not isinstance(value, numbers.Real) or not 0 <= value < 1:
        raise ValueError(
            f"`{name}` must be a number in [0, 1). Received: {name}={value!r}"
        )


def check_between(low, high, **values):
    """Raises a `ValueError` for a keyword that is no number in [low, high].

    Args:
        low, high: numbers.
        **values: the values to check, by their names.

    Raises:
        ValueError: if a value is no such number.
    """
    for name, value in values.items():
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:
            raise ValueError(
                f"`{name}` must be a number in [{low}, {high}]. "
                f"Received: {name}={value!r}"
            )
