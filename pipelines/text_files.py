"""From the bytes of a text to the ids that a model reads.

The vocabulary is that of Perceiver IO's language model: six special ids, then the 256
values of a byte. Any bytes are a text, whether they are UTF-8 or not.
"""

import tensorflow as tf

PAD, BOS, EOS, MASK, CLS, SEP = range(6)
NUM_SPECIAL = 6
VOCABULARY_SIZE = NUM_SPECIAL + 256


def encode(text):
    """Encodes a text, byte by byte.

    Args:
        text: string scalar.

    Returns:
        int32 tensor of shape (n,), the bytes + 6.
    """
    return tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32) + NUM_SPECIAL


def decode(ids):
    """Decodes the ids of a text; special ids are left out.

    Args:
        ids: integer array of shape (n,).

    Returns:
        bytes.
    """
    return bytes(int(i) - NUM_SPECIAL for i in ids if i >= NUM_SPECIAL)
