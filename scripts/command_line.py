"""Flags, and errors that end a program with one sentence."""

import argparse
import contextlib
import difflib
import functools
import os
import re
import runpy
import signal
import sys
import warnings

from absl import flags


def parse_flags(argv, required=("config", "workdir")):
    """Parses flags; a wrong one ends the program with one sentence.

    Args:
        argv: list of strings, the program's name first.
        required: sequence of strings, the flags that must be given.

    Returns:
        The arguments that are no flags.
    """
    for name in required:
        if not any(re.match(rf"--?{name}\b(?!\.)", argument) for argument in argv):
            exit_with(f"`--{name}` must be given. Received: no --{name}")
    try:
        remaining = flags.FLAGS(argv)
    # A config file is a program of the user's, and may do anything wrong.
    except Exception as error:
        exit_with(_flag_sentence(error, argv))
    if "workdir" in required and not flags.FLAGS.workdir:
        exit_with("`--workdir` must name a folder. Received: --workdir=")
    return remaining


def _flag_sentence(error, argv):
    """One sentence for a flag that is wrong, with the nearest key if there is one."""
    known = _known_keys(argv)
    for argument in argv[1:]:
        match = re.match(r"--?(?:no)?config\.([\w.]+)", argument)
        if known and match and match[1] not in known:
            nearest = difflib.get_close_matches(match[1], known, n=1, cutoff=0.0)[0]
            return (
                f"`--config.{match[1]}` is not a key of the config; the nearest is "
                f"`--config.{nearest}`. Received: {argument}"
            )
    name = type(error).__name__
    return f"The flags or the config file are wrong ({name}): " + " ".join(
        str(error).split()
    )


def _known_keys(argv):
    """All keys of the config file that the flags name; none where it is unreadable."""
    file = re.search(r"(?:^|\0)--?config[=\0]([^\0:]+)", "\0".join(argv))
    try:
        return list(_keys(runpy.run_path(file[1])["get_config"]()))
    except Exception:
        return []


def _keys(config, prefix=""):
    """All keys of a nested config, dotted."""
    for key, value in config.items():
        if hasattr(value, "items"):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


@contextlib.contextmanager
def section(name):
    """Says of an error inside which section of the config has what it names."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"`config.{name}`: {error}") from error


class Terminated(BaseException):
    """SIGTERM has come, by which a system asks a program to end."""


def sentences(main, afterwards=""):
    """A `main` whose foreseen errors end the program with their sentence alone.

    The environment variable `KERAS_PERCEIVER_TRACEBACK=1` shows where they come from.

    Args:
        main: callable.
        afterwards: string, what to add where a user or the system ends the program.
    """

    def terminate(signum, frame):
        raise Terminated

    @functools.wraps(main)
    def wrapped(*arguments):
        # Where in the code a warning comes from is of no use to a user of a script.
        warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
        before = signal.signal(signal.SIGTERM, terminate)
        try:
            return main(*arguments)
        except KeyboardInterrupt:
            print(f"\nInterrupted{afterwards}.", file=sys.stderr)
            raise SystemExit(128 + signal.SIGINT) from None
        except Terminated:
            print(f"\nTerminated{afterwards}.", file=sys.stderr)
            raise SystemExit(128 + signal.SIGTERM) from None
        except (ValueError, OSError, ImportError) as error:
            if os.environ.get("KERAS_PERCEIVER_TRACEBACK"):
                raise
            exit_with(str(error))
        finally:
            signal.signal(signal.SIGTERM, before)

    return wrapped


def exit_with(sentence):
    """Ends the program with a sentence on stderr and exit status 2."""
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are a sentence and exit status 2, as all others here."""

    def error(self, message):
        exit_with(f"{message[:1].upper()}{message[1:]}")


def run(main):
    """Runs the `main` of a script as its program, errors as `sentences` has them."""
    raise SystemExit(sentences(main)())
