"""Evaluates a trained model on labelled data.

    python scripts/evaluate.py --model=DIR --source=folder:PATH

DIR is the folder of a run. The test part is evaluated, divided as in that run, or
everything with `--split=all`. Prints the accuracy and a table of the classes; with
`--output=DIR2`, `evaluation.json` and `confusion_matrix.png` go there.
"""

import json
import pathlib

import numpy as np

from pipelines.sources import SPLITS, load_source
from trained import Parser, load_trained, probabilities, run


def main(arguments=None):
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, metavar="DIR")
    parser.add_argument("--source", required=True, metavar="SPEC")
    parser.add_argument("--split", default="test", choices=[*SPLITS, "all"])
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--output", type=pathlib.Path, metavar="DIR2")
    flags = parser.parse_args(arguments)

    trained = load_trained(flags.model)
    source = _load(flags, trained)
    labels, rows = _predict(trained, source, flags.batch_size)
    labels = _as_model_labels(labels, source, trained.classes)
    predictions = rows.argmax(axis=-1)
    confusion = np.zeros((len(trained.classes),) * 2, np.int64)
    np.add.at(confusion, (labels, predictions), 1)

    accuracy = float(np.mean(predictions == labels))
    print(f"Accuracy: {accuracy:.4f} on {len(labels):,} items of {source.name}.")
    table = _per_class(confusion, trained.classes)
    _print_table(table)
    if flags.output:
        flags.output.mkdir(parents=True, exist_ok=True)
        evaluation = {
            "accuracy": accuracy,
            "items": len(labels),
            "source": flags.source,
            "split": flags.split,
            "classes": table,
            "confusion_matrix": confusion.tolist(),
        }
        text = json.dumps(evaluation, indent=2, allow_nan=False)
        (flags.output / "evaluation.json").write_text(text + "\n")
        plot_confusion_matrix(
            confusion, trained.classes, flags.output / "confusion_matrix.png"
        )
        print(f"Written to {flags.output}")
    return 0


def _load(flags, trained):
    modality = trained.recipe.modality
    if flags.split == "all":
        return load_source(
            flags.source,
            "train",
            modality=modality,
            validation_fraction=0,
            test_fraction=0,
        )
    data = trained.config.get("data", {})
    kept = ("validation_fraction", "test_fraction")
    division = {name: data[name] for name in kept if name in data}
    if "seed" in trained.config:
        division["seed"] = trained.config["seed"]
    return load_source(flags.source, flags.split, modality=modality, **division)


def _predict(trained, source, batch_size):
    """Labels, int `(n,)`, and probabilities, `(n, classes)`, of all items."""
    labels, rows = [], []
    with trained.recipe.readable_errors(source):
        for inputs, batch in trained.recipe.eval_dataset(source, batch_size=batch_size):
            rows.append(
                probabilities(trained.model, inputs, trained.recipe.num_eval_clips)
            )
            labels.append(batch.numpy())
    return np.concatenate(labels), np.concatenate(rows)


def _as_model_labels(labels, source, classes):
    """The labels of a source as those of the model, by the names of the classes."""
    unknown = sorted(set(source.classes) - set(classes))
    if unknown:
        raise ValueError(
            f"The model knows the classes {classes[:10]}. "
            f"Received: {source.name} with the class {unknown[0]!r}"
        )
    return np.array([classes.index(name) for name in source.classes])[labels]


def _per_class(confusion, classes):
    """For each class its items, and precision and recall (None where undefined)."""
    items, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    right = confusion.diagonal()
    return [
        {
            "class": name,
            "items": int(items[i]),
            "precision": float(right[i] / predicted[i]) if predicted[i] else None,
            "recall": float(right[i] / items[i]) if items[i] else None,
        }
        for i, name in enumerate(classes)
    ]


def _print_table(table):
    width = max(5, *(len(row["class"]) for row in table))
    print(f"{'class':<{width}}  items  precision  recall")
    for row in table:
        precision, recall = (
            "-" if row[key] is None else f"{row[key]:.3f}"
            for key in ("precision", "recall")
        )
        print(
            f"{row['class']:<{width}}  {row['items']:>5}  {precision:>9}  {recall:>6}"
        )


def plot_confusion_matrix(confusion, classes, path):
    """Draws how often items of each class (rows) were taken for each (columns).

    Args:
        confusion: int array (classes, classes).
        classes: list of str.
        path: where to write the PNG.
    """
    from matplotlib import figure

    count = len(classes)
    side = min(14, 2.5 + 0.35 * count)
    drawing = figure.Figure(figsize=(side + 1, side))
    axis = drawing.subplots()
    parts = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    shown = axis.imshow(parts, cmap="magma", vmin=0, vmax=1)
    size = 8 if count <= 30 else 5
    axis.set_xticks(range(count), classes, rotation=90, fontsize=size)
    axis.set_yticks(range(count), classes, fontsize=size)
    axis.set_xlabel("predicted")
    axis.set_ylabel("labelled")
    if count <= 30:
        for i, j in zip(*np.nonzero(confusion), strict=True):
            colour = "white" if parts[i, j] < 0.6 else "black"
            axis.text(
                j,
                i,
                confusion[i, j],
                ha="center",
                va="center",
                color=colour,
                fontsize=6,
            )
    drawing.colorbar(shown, label="part of the labelled items", shrink=0.8)
    drawing.tight_layout()
    drawing.savefig(path, dpi=120)


if __name__ == "__main__":
    run(main)
