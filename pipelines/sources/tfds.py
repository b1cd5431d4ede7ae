"""Classification data sets of TensorFlow Datasets: images, sounds, videos, texts."""

import dataclasses
import difflib

import numpy as np
import tensorflow as tf

from pipelines.sources.source import Source
from pipelines.sources.splits import NoSuchSplit, held_out_count

NUM_LOOKED_AT = 100


def load_tfds(name, split, rule, modality="image", data_dir=None):
    """Loads one split of a data set that TensorFlow Datasets has prepared.

    The test is the data set's own `test` split, else its `validation` split, else
    a part of `train`. Train and validation are parts of `train`. The parts are
    ranges of examples, which TensorFlow Datasets stores in random order.

    Images have one label where the feature is a `ClassLabel`, and several where it is
    a sequence of those, or a vector with 0 or 1 for each class. A data set that names
    no supervised features is read by `image` and `labels`, if it has these.

    Args:
        name: str, as TensorFlow Datasets spells it, such as "cifar10" or
            "imagenet2012:5.1.0".
        split: "train", "validation" or "test".
        rule: `SplitRule`, of which the fractions count.
        modality: str, the kind of data: "image", "audio", "video" or "text".
        data_dir: path of the prepared data; the usual folder by default.

    Returns:
        A `Source`; images are still encoded.

    Raises:
        ImportError: if tensorflow-datasets is not installed.
        ValueError: if the data set is unknown, not prepared, or holds no data of that
            modality with class labels.
    """
    if modality not in _READERS:
        raise ValueError(
            f"`tfds:` serves {', '.join(_READERS)}; export other data to folders. "
            f"Received: tfds:{name} for modality={modality!r}"
        )
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise ImportError(
            f"tfds:{name} needs TensorFlow Datasets; "
            "run: pip install tensorflow-datasets"
        ) from None
    builder = _find_builder(tfds, name, data_dir)
    data_key, label_key = _supervised_keys(tfds, name, builder.info, modality)
    feature = builder.info.features[data_key]
    skip_decoding, to_raw = _READERS[modality](tfds, name, feature)
    label_feature = builder.info.features[label_key]
    classes = _class_names(tfds, label_feature)
    multi_label = not isinstance(label_feature, tfds.features.ClassLabel)
    is_sequence = isinstance(label_feature, tfds.features.Sequence)

    decoders = {data_key: tfds.decode.SkipDecoding()} if skip_decoding else {}

    def read(subsplit):
        return builder.as_dataset(
            split=subsplit,
            # Skips the other features, and leaves files to our own ops.
            decoders=tfds.decode.PartialDecoding(
                {data_key: True, label_key: True}, decoders=decoders
            ),
            read_config=tfds.ReadConfig(try_autocache=False),
            shuffle_files=False,
        )

    def is_labelled(subsplit):
        # Public test splits without labels, ImageNet's for one, have -1 for each, or
        # no label at all.
        return any(label.size and label.min() >= 0 for label in first_labels(subsplit))

    def first_labels(subsplit):
        items = read(subsplit).take(NUM_LOOKED_AT).as_numpy_iterator()
        return [np.asarray(item[label_key]) for item in items]

    def to_label(label):
        if is_sequence:  # An image may have two objects of one class.
            counts = tf.reduce_sum(tf.one_hot(label, len(classes)), axis=0)
            return tf.minimum(counts, 1.0)
        return tf.cast(label, tf.float32 if multi_label else tf.int32)

    held_out = [key for key in ("test", "validation") if key in builder.info.splits]
    test = next(filter(is_labelled, held_out), None)
    if test is not None:
        rule = dataclasses.replace(rule, test_fraction=0)
    if split == "test" and test is not None:
        subsplit = test
    else:
        subsplit = _part_of_train(name, builder.info, split, rule)
    if multi_label and not is_sequence:
        values = np.unique(first_labels(subsplit)).astype(int)
        if not set(values) <= {0, 1}:
            raise ValueError(
                "A vector of labels must be of 0 and 1. "
                f"Received: tfds:{name} with {values[0]} to {values[-1]} in "
                f"{label_key!r}"
            )

    def to_item(index, item):
        return {
            **to_raw(item[data_key]),
            "label": to_label(item[label_key]),
            "index": index,
        }

    return Source(
        dataset=read(subsplit).enumerate().map(to_item),
        num_items=builder.info.splits[subsplit].num_examples,
        classes=classes,
        name=f"tfds:{name}",
        multi_label=multi_label,
    )


def _find_builder(tfds, name, data_dir):
    try:
        builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except tfds.core.registered.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        nearest = ", ".join(difflib.get_close_matches(name, known)) or "none"
        raise ValueError(
            "TensorFlow Datasets knows no data set of this name. "
            f"Received: tfds:{name} (similar names: {nearest})"
        ) from None
    except ValueError as error:
        reason = str(error).strip().partition("\n")[0].rstrip(". ")
        raise ValueError(
            f"TensorFlow Datasets cannot use this name: {reason}. Received: tfds:{name}"
        ) from None
    if not builder.info.splits:
        raise ValueError(
            f"tfds:{name} is not prepared in {str(builder.data_dir)!r}; "
            f"run: tfds build {name}"
        )
    return builder


def _supervised_keys(tfds, name, info, modality):
    """Returns the keys of the data and of its label or labels."""
    keys = info.supervised_keys or (modality, "labels")
    if (
        len(keys) == 2
        and all(key in info.features for key in keys)
        and _class_names(tfds, info.features[keys[1]]) is not None
    ):
        return keys
    raise ValueError(
        "The data set must be of items with class labels: one each, or a sequence of "
        "them, or a vector of 0 and 1. "
        f"Received: tfds:{name} with supervised_keys={info.supervised_keys}"
    )


def _class_names(tfds, feature):
    """The names of the classes of a feature; None where it is not of labels."""
    if isinstance(feature, tfds.features.Sequence):
        feature = feature.feature
        if not isinstance(feature, tfds.features.ClassLabel):
            return None
    if isinstance(feature, tfds.features.ClassLabel):
        return tuple(feature.names)
    # A vector of one number for each class, which nobody has named.
    if type(feature) is tfds.features.Tensor and len(feature.shape) == 1:
        kind = np.dtype(feature.np_dtype).kind
        if feature.shape[0] and kind in "bui":
            return tuple(map(str, range(feature.shape[0])))
    return None


# Of each modality: from a feature to whether its decoding is skipped, and to the
# function that makes a raw form of `Source` of what TensorFlow Datasets reads.


def _read_image(tfds, name, feature):
    # Subclasses of Image (masks, labelled images) mean something else.
    is_fit = (
        type(feature) is tfds.features.Image and np.dtype(feature.np_dtype) == np.uint8
    )
    _check_feature(is_fit, "8-bit images", name, feature)
    return True, lambda encoded: {"encoded": encoded}


def _read_video(tfds, name, feature):
    is_fit = (
        isinstance(feature, tfds.features.Video)
        and np.dtype(feature.feature.np_dtype) == np.uint8
    )
    _check_feature(is_fit, "8-bit videos", name, feature)
    return False, lambda video: {"video": video}


def _read_text(tfds, name, feature):
    _check_feature(isinstance(feature, tfds.features.Text), "texts", name, feature)
    return False, lambda text: {"text": text}


def _read_audio(tfds, name, feature):
    is_audio = isinstance(feature, tfds.features.Audio)
    _check_feature(is_audio, "sounds", name, feature)
    if feature.to_json_content().lazy_decode:
        return True, lambda encoded: {"encoded": encoded}
    kind = np.dtype(feature.np_dtype)
    is_fit = kind.kind == "f" or kind in (np.int16, np.int32, np.int64)
    _check_feature(is_fit, "sounds of floats or 16-bit integers", name, feature)
    if not feature.sample_rate:
        raise ValueError(
            "The data set must state the sample rate of its sounds; export it to a "
            f"folder of WAV files. Received: tfds:{name} with sample_rate=None"
        )

    def to_raw(samples):
        audio = tf.cast(samples, tf.float32)
        if kind.kind == "i":  # Wider types hold 16 bits as well.
            audio /= 2**15
        if audio.shape.rank == 2:
            audio = tf.reduce_mean(audio, axis=-1)
        return {"audio": audio, "rate": tf.constant(feature.sample_rate, tf.int32)}

    return False, to_raw


_READERS = {
    "audio": _read_audio,
    "image": _read_image,
    "text": _read_text,
    "video": _read_video,
}


def _check_feature(is_fit, wanted, name, feature):
    if not is_fit:
        raise ValueError(
            f"The data set must be of {wanted} with one class label each. "
            f"Received: tfds:{name} with {feature}"
        )


def _part_of_train(name, info, split, rule):
    """Returns the range of `train` that makes up `split`: test | validation | train."""
    if "train" not in info.splits:
        raise ValueError(
            f"The data set has no `train` split. "
            f"Received: tfds:{name} with splits {sorted(info.splits)}"
        )
    total = info.splits["train"].num_examples
    test = held_out_count(total, rule.test_fraction, f"tfds:{name}")
    validation = held_out_count(total - test, rule.validation_fraction, f"tfds:{name}")
    start, stop = {
        "test": (0, test),
        "validation": (test, test + validation),
        "train": (test + validation, total),
    }[split]
    if start == stop:
        raise NoSuchSplit(
            f"`{split}_fraction` must be above 0 to ask for the {split} split. "
            f"Received: {split}_fraction=0"
        )
    return f"train[{start}:{stop}]"
