"""One item as a record of a TFRecord file, and back.

A record is a `tf.train.Example`. Its features are

    "label": int64, the number of the class; of multi-label data a list of the numbers
        of all classes that the item has, which may be empty;
    "encoded": bytes, those of a file as it was; or instead of it the data itself,
        "image", "video", "audio", "points": bytes, a tensor as `tf.io.serialize_tensor`
            has it, of the shapes and types of `Source`;
        "rate": int64, samples per second, beside "audio";
        "text": bytes;
    "name": bytes, what messages call the item; may be left out.
"""

import numpy as np
import tensorflow as tf

# What is beside records and must be known of them all before they are read.
INDEX = "records.json"
# Of a hash of 64 bits; what two different items share by chance is no concern.
_NUM_FINGERPRINTS = 2**62
_TENSORS = ("image", "video", "audio", "points")
_FIXED = {
    "encoded": tf.TensorSpec((), tf.string),
    "name": tf.TensorSpec((), tf.string),
    "rate": tf.TensorSpec((), tf.int32),
    "text": tf.TensorSpec((), tf.string),
}


def serialize(item):
    """One item as a record.

    Args:
        item: dict of "label" and of the features that the module lists, as arrays,
            ints or bytes.

    Returns:
        Pair of the bytes of the record and the item's fingerprint.
    """
    features, data = {"label": _int64(label_numbers(item["label"]))}, []
    for key in sorted(item.keys() - {"label", "index"}):
        if key == "rate":
            features[key] = _int64(int(item[key]))
        else:
            value = item[key]
            if key in _TENSORS:
                value = tf.io.serialize_tensor(value).numpy()
            features[key] = tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[value])
            )
            if key != "name":
                data.append(value)
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(), int(fingerprint(data))


def label_numbers(label):
    """The label of an item of a `Source` as a record has it.

    Args:
        label: integer scalar, or float array (E,) of 0 and 1.

    Returns:
        int, or of an array the list of the classes that have a 1.
    """
    return np.flatnonzero(label).tolist() if np.ndim(label) else int(label)


def fingerprint(data):
    """A number that items share whose data is equal, and as good as no others.

    Args:
        data: list of string scalars, the features that hold the item's data.

    Returns:
        int64 scalar.
    """
    return tf.strings.to_hash_bucket_fast(tf.strings.join(data), _NUM_FINGERPRINTS)


def parser(specs, num_labels=None):
    """Makes the step from a record to an example.

    Args:
        specs: dict from the features other than "label" to `tf.TensorSpec`, as
            `specs_of` finds them.
        num_labels: int, E, where an item may have several labels.

    Returns:
        Function from a string scalar to a dict of tensors.
    """

    def parse(record):
        raw = _raw_features(specs, multi_label=num_labels is not None)
        features = tf.io.parse_single_example(record, raw)
        label = features["label"]
        if num_labels is None:
            example = {"label": tf.cast(label, tf.int32)}
        else:
            marks = tf.one_hot(label, num_labels, True, False)
            example = {"label": tf.cast(tf.reduce_any(marks, axis=0), tf.float32)}
        for key, spec in specs.items():
            value = features[key]
            if key in _TENSORS:
                value = tf.io.parse_tensor(value, spec.dtype)
            example[key] = tf.ensure_shape(tf.cast(value, spec.dtype), spec.shape)
        return example

    return parse


def summarizer(specs):
    """Makes the step from a record to what must be known of each.

    Args:
        specs: as for `parser`.

    Returns:
        Function from a string scalar to a pair of int64 scalars: the label and the
        fingerprint.
    """

    def summarize(record):
        features = tf.io.parse_single_example(record, _raw_features(specs))
        data = [features[key] for key in sorted(specs.keys() - {"name", "rate"})]
        return features["label"], fingerprint(data)

    return summarize


def specs_of(record, raw):
    """Finds what a record holds.

    Args:
        record: bytes.
        raw: tuple of str, the features that hold the data of the modality where there
            is no "encoded".

    Returns:
        Dict from the features other than "label" to `tf.TensorSpec`.

    Raises:
        ValueError: if the record is not one of the schema, or not of that modality.
    """
    data = " and ".join(f"'{key}'" for key in raw)
    needs = f"each must be a tf.train.Example with 'label' and 'encoded', or {data}"
    try:
        features = tf.train.Example.FromString(record).features.feature
    # Protocol buffers have errors of their own in each implementation.
    except Exception:
        raise ValueError(f"{needs}, and the first is no tf.train.Example") from None
    keys = ("encoded",) if "encoded" in features else raw
    missing = [key for key in ("label", *keys) if key not in features]
    if missing:
        raise ValueError(f"{needs}, and the first has {sorted(features)}")
    for key in ("label", *keys):
        kind = "int64" if key in ("label", "rate") else "bytes"
        if len(getattr(features[key], f"{kind}_list").value) != 1:
            several = f", unless {INDEX} says multi_label" if key == "label" else ""
            raise ValueError(f"{needs}, and {key!r} must be one {kind} value{several}")
    specs = {
        key: _tensor_spec(key, features[key].bytes_list.value[0])
        if key in _TENSORS
        else _FIXED[key]
        for key in keys
    }
    if len(features["name"].bytes_list.value) == 1:
        specs["name"] = _FIXED["name"]
    return specs


def _raw_features(specs, multi_label=False):
    """How `tf.io.parse_single_example` reads the features of a record."""
    kinds = {key: tf.int64 if key == "rate" else tf.string for key in specs}
    features = {
        key: tf.io.FixedLenFeature((), kind)
        for key, kind in {"label": tf.int64, **kinds}.items()
    }
    if multi_label:
        features["label"] = tf.io.FixedLenSequenceFeature(
            (), tf.int64, allow_missing=True
        )
    return features


def _tensor_spec(key, value):
    proto_type = type(tf.make_tensor_proto(0))
    try:
        proto = proto_type.FromString(value)
        dtype = tf.dtypes.as_dtype(proto.dtype)
    except Exception:
        raise ValueError(
            f"{key!r} must be a tensor as tf.io.serialize_tensor writes it"
        ) from None
    return tf.TensorSpec((None,) * len(proto.tensor_shape.dim), dtype)


def _int64(value):
    values = value if isinstance(value, list) else [value]
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
