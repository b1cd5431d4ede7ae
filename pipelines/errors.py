"""One readable sentence for a file that cannot be read."""

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
    if not {"path", "encoded"} & set(source.dataset.element_spec):
        return None

    def index_if_readable(example):
        # What is read is only there for the reading not to be optimised away.
        return example["index"], process(example)

    readable = source.dataset.map(
        index_if_readable, tf.data.AUTOTUNE, deterministic=True
    ).ignore_errors()
    num_good = 0
    for index, _ in readable:
        if index != num_good:
            break
        num_good += 1
    if num_good == source.num_items:
        return None
    for example in source.dataset.skip(num_good).take(1):
        try:
            process(example)
        except (tf.errors.OpError, ValueError) as error:
            place = f"number {num_good} of {source.name}"
            return describe_failure(error, noun, example.get("path", place))
    return None


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
    return f"Cannot decode {noun} '{place}': {_reason(error)}."


def _reason(error):
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
    return reason.rpartition("; ")[2].strip().rstrip(".")
