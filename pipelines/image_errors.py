"""One readable sentence for an image file that cannot be read."""

import contextlib
import re

import tensorflow as tf

from pipelines.image_ops import decode_image

# What reading and decoding raise, unlike, say, a lack of memory.
_READING_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.FailedPreconditionError,
    tf.errors.DataLossError,
    tf.errors.UnknownError,
)


@contextlib.contextmanager
def readable_errors(source):
    """Names the broken file when reading batches of `source` fails inside.

    Costs nothing while all goes well. On an error of TensorFlow the files are
    decoded once more, in order, to find the first broken one; an error that has
    another cause is passed on.

    Args:
        source: `Source` of images.

    Yields:
        Nothing; iterate over the batches, or call `fit` with them, inside.

    Raises:
        ValueError: in place of TensorFlow's error, if a file cannot be decoded.
    """
    try:
        yield
    except _READING_ERRORS:
        sentence = find_broken_image(source)
        if sentence is None:
            raise
        raise ValueError(sentence) from None


def find_broken_image(source):
    """Looks for the first image of a source that cannot be decoded.

    Args:
        source: `Source` of images.

    Returns:
        str, a sentence that names the file and the reason; None if all is well.
    """
    if "image" in source.dataset.element_spec:
        return None
    decode = decode_image()

    def index_if_decodable(example):
        # The size is only there for the decoding not to be optimised away.
        return example["index"], tf.size(decode(example)["image"])

    decodable = source.dataset.map(
        index_if_decodable, tf.data.AUTOTUNE, deterministic=True
    ).ignore_errors()
    num_good = 0
    for index, _ in decodable:
        if index != num_good:
            break
        num_good += 1
    if num_good == source.num_items:
        return None
    for example in source.dataset.skip(num_good).take(1):
        try:
            decode(example)
        except tf.errors.OpError as error:
            place = f"number {num_good} of {source.name}"
            return describe_failure(error, example.get("path", place))
    return None


def describe_failure(error, place):
    """Says in a sentence why an image could not be decoded.

    Args:
        error: `tf.errors.OpError`, what `decode_image` raised.
        place: str, or string scalar tensor of a path, where the image is.

    Returns:
        str.
    """
    if not isinstance(place, str):
        place = place.numpy().decode("utf-8", "backslashreplace")
    # TensorFlow wraps its reason in the names of nodes and ops, and says of a
    # missing file only "PATH; No such file or directory".
    reason = re.sub(r"\{\{.*?\}\}|\[Op:.*?\](\s*name:)?", "", error.message)
    reason = reason.rpartition("; ")[2].strip().rstrip(".")
    return f"Cannot decode image '{place}': {reason}."
