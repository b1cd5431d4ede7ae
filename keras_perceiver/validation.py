"""Checks of arguments, each ending in one sentence with what was received."""

import difflib
import numbers


def check_positive(**named_values):
    """Raises `ValueError` unless every value is an integer of at least 1."""
    for name, value in named_values.items():
        is_integer = isinstance(value, numbers.Integral)
        if isinstance(value, bool) or not is_integer or value < 1:
            raise ValueError(
                f"`{name}` must be an integer of at least 1. Received: {name}={value!r}"
            )


def check_not_negative(**named_values):
    """Raises `ValueError` unless every value is an integer of at least 0."""
    for name, value in named_values.items():
        is_integer = isinstance(value, numbers.Integral)
        if isinstance(value, bool) or not is_integer or value < 0:
            raise ValueError(
                f"`{name}` must be an integer of at least 0. Received: {name}={value!r}"
            )


def check_rate(**named_values):
    """Raises `ValueError` unless every value lies in [0, 1)."""
    for name, value in named_values.items():
        if not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise ValueError(
                f"`{name}` must be at least 0 and less than 1. "
                f"Received: {name}={value!r}"
            )


def check_divides(num_heads, **named_widths):
    """Raises `ValueError` unless `num_heads` divides every width."""
    for name, width in named_widths.items():
        if width % num_heads:
            raise ValueError(
                f"`num_heads` must divide `{name}`. "
                f"Received: num_heads={num_heads}, {name}={width}"
            )


def check_choice(choices, **named_values):
    """Raises `ValueError` unless every value is one of `choices`."""
    for name, value in named_values.items():
        if value not in choices:
            raise ValueError(
                f"`{name}` must be one of {list(choices)}. Received: {name}={value!r}"
            )


def check_no_others(kwargs, known):
    """Raises `TypeError` where a keyword argument is none of the known ones.

    Functional models of Keras pass over arguments that they do not know.
    """
    for name in kwargs:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise TypeError(
                f"`{name}` is not an argument; the nearest is `{nearest}`. "
                f"Received: {name}={kwargs[name]!r}"
            )


def check_instance(kinds, hint, **named_values):
    """Raises `ValueError` unless every value is of one of the kinds."""
    for name, value in named_values.items():
        if not isinstance(value, kinds):
            raise ValueError(f"`{name}` must be {hint}. Received: {name}={value!r}")
