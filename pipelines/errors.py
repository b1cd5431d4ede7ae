"""One readable sentence for a file that cannot be read."""

import itertools
import re

import tensorflow as tf

# What reading and decoding raise, unlike, say, a lack of memory.
READING_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.FailedPreconditionError,
    tf.errors.DataLossError,
    tf.errors.UnknownError,
)


def find_broken(source, process, noun):
    """Looks for the first item of a source that cannot be read.

    Args:
        source: `Source`.
        process: function from example to example that reads the item.
        noun: str, what to call an item.

    Returns:
        str, a sentence that names the file and the reason; None if all is well.
    """
    return next((sentence for _, sentence in broken(source, process, noun)), None)


def read_first(source, process, noun, *, count, skip_unreadable=False):
    """What reading the first items of a source gives.

    Args:
        source, noun: as for `find_broken`.
        process: function from example to a tensor, or to a nest of them.
        count: int, how many items to read at most.
        skip_unreadable: bool, whether items that cannot be read are passed over, as
            long as there are others; else they raise.

    Returns:
        List with the arrays, or nests of arrays, of each item.

    Raises:
        ValueError: if an item cannot be decoded; a sentence.
    """
    examples = source.dataset.take(count).map(process, tf.data.AUTOTUNE)
    if skip_unreadable:
        readable = list(examples.ignore_errors().as_numpy_iterator())
        if readable:
            return readable
    try:
        return list(examples.as_numpy_iterator())
    except READING_ERRORS:
        sentence = find_broken(source, process, noun)
        if sentence is None:
            raise
        raise ValueError(sentence) from None


def broken(source, process, noun):
    """Reads all items of a source, in order, to find those that cannot be read.

    Args:
        source, process, noun: as for `find_broken`.

    Yields:
        Pairs: the index of an item, and a sentence that names it and the reason.

    Raises:
        ValueError: if a file of many items is damaged, whose items cannot be told from
            each other any more.
    """
    if source.files is not None:
        damage = source.files.damage()
        if damage is not None:
            raise ValueError(damage) from None
    if not {"path", "encoded"} & set(source.dataset.element_spec):
        return

    def index_if_readable(example):
        # What is read is only there for the reading not to be optimised away.
        return example["index"], process(example)

    readable = source.dataset.map(
        index_if_readable, tf.data.AUTOTUNE, deterministic=True
    ).ignore_errors()
    expected = 0
    found = itertools.chain((int(index) for index, _ in readable), [source.num_items])
    for index in found:
        for missing in range(expected, index):
            for example in source.dataset.skip(missing).take(1):
                sentence = _failure(process, example, noun, source)
                if sentence is not None:
                    yield missing, sentence
        expected = index + 1


def _failure(process, example, noun, source):
    """Why one example cannot be read, in a sentence; None if it can be."""
    try:
        process(example)
    except (tf.errors.OpError, ValueError) as error:
        return describe_failure(error, noun, _place(example, source))
    return None


def _place(example, source):
    """Where an item is: the path of its file, or its name or number in the source."""
    if "path" in example:
        return example["path"]
    if "name" in example:
        name = example["name"].numpy().decode("utf-8", "backslashreplace")
    else:
        name = f"number {int(example['index'])}"
    return f"{name} of {source.name}"


def describe_failure(error, noun, place):
    """Says in a sentence why an item could not be read.

    Args:
        error: what reading it raised: `tf.errors.OpError`, or the `ValueError` of a
            Python function, which TensorFlow wraps inside graphs alone.
        noun: str, what to call the item.
        place: str, or string scalar tensor of a path, where it is.

    Returns:
        str.
    """
    if not isinstance(place, str):
        place = place.numpy().decode("utf-8", "backslashreplace")
    return f"Cannot decode {noun} '{place}': {reason(error)}."


def reason(error):
    """Why reading failed, without names of ops and stacks: str, as for a sentence's
    end."""
    if isinstance(error, ValueError):
        return str(error).strip().rstrip(".")
    message = error.message
    # What a Python function raised comes with its name and its stack.
    raised = re.match(r"(?:\w+: )?ValueError: (.*?)\n", message, re.DOTALL)
    if raised:
        return raised[1].strip().rstrip(".")
    # TensorFlow wraps its reason in the names of nodes and ops, and says of a
    # missing file only "PATH; No such file or directory".
    reason = re.sub(r"\{\{.*?\}\}|\[Op:.*?\](\s*name:)?", "", message)
    reason = re.sub(r"\s*\[\[.*?\]\]", "", reason)
    return reason.rpartition("; ")[2].strip().rstrip(".")
