"""Flags that subcommands share, and kinds of numbers that flags take."""

import argparse
import dataclasses
import pathlib


def add_shared(command, *, rounds):
    """Adds what every subcommand has.

    Args:
        command: `argparse.ArgumentParser`.
        rounds: int, the default.
    """
    add = command.add_argument
    add("--json", type=pathlib.Path, help="file of all numbers, a table beside it")
    add("--rounds", type=positive(int), default=rounds, help="turns of each contestant")


def add_contestants(command, choices, *, max_seconds):
    """Adds who is measured, and for how long.

    Args:
        command: `argparse.ArgumentParser`.
        choices: collection of names.
        max_seconds: float, the default.
    """
    add = command.add_argument
    add("--only", action="append", choices=choices, help="may be repeated")
    add(
        "--max-seconds",
        type=positive(float),
        default=max_seconds,
        help="of one contestant for one thing to do; it then sits out",
    )


def add_sizes(command, setting):
    """Adds a flag for each size.

    Args:
        command: `argparse.ArgumentParser`.
        setting: dataclass of ints, all with defaults.
    """
    for field in dataclasses.fields(setting):
        flag = "--" + field.name.replace("_", "-")
        command.add_argument(flag, type=positive(int), default=field.default)


def sizes_of(args, setting):
    """The `setting` that the flags of `add_sizes` give."""
    names = [field.name for field in dataclasses.fields(setting)]
    return setting(**{name: getattr(args, name) for name in names})


def positive(kind):
    """A number above zero, for `argparse`."""

    def parse(text):
        number = kind(text)
        if number <= 0:
            raise argparse.ArgumentTypeError(f"must be above zero, received {text}")
        return number

    return parse
