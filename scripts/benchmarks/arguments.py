"""Kinds of numbers that flags take."""

import argparse


def positive(kind):
    """A number above zero, for `argparse`."""

    def parse(text):
        number = kind(text)
        if number <= 0:
            raise argparse.ArgumentTypeError(f"must be above zero, received {text}")
        return number

    return parse
