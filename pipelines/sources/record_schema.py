"""One item as a record of a TFRecord file, and back.

A record is a `tf.train.Example`. Its features are

    "label": int64, the number of the class;
    "encoded": bytes, those of a file as it was; or instead of it the data itself,
        "image", "video", "audio", "points": bytes, a tensor as `tf.io.serialize_tensor`
            has it, of the shapes and types of `Source`;
        "rate": int64, samples per second, beside "audio";
        "text": bytes;
    "name": bytes, what messages call the item; may be left out.
"""

import tensorflow as tf

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
    features, data = {"label": _int64(item["label"])}, []
    for key in sorted(item.keys() - {"label", "index"}):
        if key == "rate":
            features[key] = _int64(item[key])
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


def fingerprint(data):
    """A number that items share whose data is equal, and as good as no others.

    Args:
        data: list of string scalars, the features that hold the item's data.

    Returns:
        int64 scalar.
    """
    return tf.strings.to_hash_bucket_fast(tf.strings.join(data), _NUM_FINGERPRINTS)


def parser(specs):
    """Makes the step from a record to an example.

    Args:
        specs: dict from the features other than "label" to `tf.TensorSpec`, as
            `specs_of` finds them.

    Returns:
        Function from a string scalar to a dict of tensors.
    """

    def parse(record):
        features = tf.io.parse_single_example(record, _raw_features(specs))
        example = {"label": tf.cast(features["label"], tf.int32)}
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
            raise ValueError(f"{needs}, and {key!r} must be one {kind} value")
    specs = {
        key: _tensor_spec(key, features[key].bytes_list.value[0])
        if key in _TENSORS
        else _FIXED[key]
        for key in keys
    }
    if len(features["name"].bytes_list.value) == 1:
        specs["name"] = _FIXED["name"]
    return specs


def _raw_features(specs):
    """How `tf.io.parse_single_example` reads the features of a record."""
    kinds = {key: tf.int64 if key == "rate" else tf.string for key in specs}
    return {
        key: tf.io.FixedLenFeature((), kind)
        for key, kind in {"label": tf.int64, **kinds}.items()
    }


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
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))
