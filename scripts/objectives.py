"""What a classifier is trained for, and by what it is judged.

Labels are vectors, float32 (E,): where classes exclude each other, how much of an
example is of each; else, 1 for each class that it has.
"""

import keras
import numpy as np
from sklearn.metrics import average_precision_score

from trained import predictions


def loss(multi_label, label_smoothing):
    """The cross-entropy of logits.

    Args:
        multi_label: bool, whether an example may be of several classes.
        label_smoothing: float in [0, 1), the part of each label that is spread evenly
            over all classes; if `multi_label`, each 0 and 1 moves by half of it.

    Returns:
        `keras.losses.Loss`.
    """
    kind = (
        keras.losses.BinaryCrossentropy
        if multi_label
        else keras.losses.CategoricalCrossentropy
    )
    return kind(from_logits=True, label_smoothing=label_smoothing)


def average_precisions(labels, scores):
    """The average precision of each class.

    It is the mean, over the items of a class, of the precision among all items whose
    score is at least as high.

    Args:
        labels: array (n, E) of 0 and 1.
        scores: float array (n, E), higher for what is rather of the class.

    Returns:
        float64 array (E,), NaN for a class without items.
    """
    columns = zip(np.asarray(labels, bool).T, np.asarray(scores).T, strict=True)
    return np.array(
        [
            average_precision_score(*column) if column[0].any() else np.nan
            for column in columns
        ]
    )


def mean_average_precision(labels, scores):
    """The mean of the average precisions of the classes that have items.

    Args:
        labels, scores: as for `average_precisions`.

    Returns:
        Pair: float, or `None` if no class has items; and int, the number of classes
        that do.
    """
    precisions = average_precisions(labels, scores)
    known = precisions[~np.isnan(precisions)]
    return (float(known.mean()) if len(known) else None), len(known)


def map_sentence(value, num_known, num_classes):
    """The mean average precision for people, with the classes it is the mean over."""
    if value is None:
        return "mAP: undefined, as no class has items,"
    over = f"over {num_known} classes"
    if num_known < num_classes:
        over += f" (without {num_classes - num_known} that have no items)"
    return f"mAP: {value:.4f} {over}"


def confusion_matrix(labels, rows):
    """How often items of each class were taken for each.

    Args:
        labels: array (n, E) of 0 and 1, one 1 in each row.
        rows: float array (n, E), higher for what is rather of the class.

    Returns:
        int64 array (E, E), a row for each class that items have.
    """
    labels, rows = np.asarray(labels), np.asarray(rows)
    confusion = np.zeros((labels.shape[1],) * 2, np.int64)
    np.add.at(confusion, (labels.argmax(axis=1), rows.argmax(axis=1)), 1)
    return confusion


def table_of_classes(labels, rows, classes, multi_label):
    """For each class its items, and how well they are told from others.

    Args:
        labels, rows: arrays (n, E), as for `confusion_matrix`; where `multi_label`, a
            row of labels may have any number of 1.
        classes: sequence of str.
        multi_label: bool.

    Returns:
        List of dicts with "class", "items", and "precision" and "recall", or
        "average_precision" if `multi_label`: floats, `None` where undefined.
    """
    items = np.asarray(labels).sum(axis=0).astype(int).tolist()
    if multi_label:
        precisions = average_precisions(labels, rows)
        scores = [
            {"average_precision": None if np.isnan(value) else float(value)}
            for value in precisions
        ]
    else:
        confusion = confusion_matrix(labels, rows)
        right, predicted = confusion.diagonal(), confusion.sum(axis=0)
        scores = [
            {
                "precision": float(right[i] / predicted[i]) if predicted[i] else None,
                "recall": float(right[i] / items[i]) if items[i] else None,
            }
            for i in range(len(classes))
        ]
    return [
        {"class": name, "items": count, **own}
        for name, count, own in zip(classes, items, scores, strict=True)
    ]


def final_scores(model, history, validation, labels, rows):
    """How good a trained model is, in the words of `metrics.json`.

    Args:
        model: `kp.PerceiverClassifier`.
        history: dict, what `fit` logged.
        validation: `tf.data.Dataset` of batches (inputs, labels).
        labels, rows: what `predictions` returns for the test.

    Returns:
        Dict with "test_loss", the cross-entropy of labels without smoothing, and
        "test_accuracy" and "validation_accuracy"; of a multi-label model, "test_map",
        "validation_map", and "test_map_classes", the number of classes with items in
        the test.
    """
    test_loss = cross_entropy(labels, rows, model.multi_label)
    if not model.multi_label:
        right = labels.argmax(axis=-1) == rows.argmax(axis=-1)
        return {
            "test_accuracy": float(np.mean(right)),
            "test_loss": test_loss,
            "validation_accuracy": history["val_accuracy"][-1],
        }
    test_map, test_classes = mean_average_precision(labels, rows)
    validation_map, _ = mean_average_precision(*predictions(model, validation))
    return {
        "test_map": test_map,
        "test_map_classes": test_classes,
        "test_loss": test_loss,
        "validation_map": validation_map,
    }


def cross_entropy(labels, probabilities, multi_label):
    """The mean cross-entropy of probabilities, which are no less than 1e-7.

    Args:
        labels: array (n, E).
        probabilities: float array (n, E).
        multi_label: bool; if so, the mean over classes, each by itself.

    Returns:
        float.
    """
    kind = keras.losses.CategoricalCrossentropy
    if multi_label:
        kind = keras.losses.BinaryCrossentropy
    return float(kind()(labels, probabilities))
