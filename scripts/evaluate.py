"""Evaluates a trained model on labelled data.

    python scripts/evaluate.py --model=DIR --source=folder:PATH

DIR is the folder of a run. The test part is evaluated, divided as in that run, or
everything with `--split=all`. Prints the accuracy and a table of the classes; with
`--output=DIR2`, `evaluation.json` and `confusion_matrix.png` go there. Of a multi-label
model, it is the mean average precision, and no confusion matrix.
"""

import json
import pathlib

import numpy as np

import objectives
import plots
from command_line import Parser, run
from pipelines.sources import SPLITS, load_own_splits, load_source
from trained import load_trained, predictions


def main(arguments=None):
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, metavar="DIR")
    parser.add_argument("--source", required=True, metavar="SPEC")
    parser.add_argument("--split", default="test", choices=[*SPLITS, "all"])
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--output", type=pathlib.Path, metavar="DIR2")
    flags = parser.parse_args(arguments)

    trained = load_trained(flags.model)
    sources = _load(flags, trained)
    source, *_ = sources  # All have its classes and its name.
    columns = _columns_of_model(source, trained)
    predicted = [_predict(trained, each, flags.batch_size) for each in sources]
    labels, rows = map(np.concatenate, zip(*predicted, strict=True))
    labels = _as_model_labels(labels, columns, len(trained.classes))
    multi_label = trained.model.multi_label
    scores = _judge(labels, rows, trained.classes, multi_label, source.name)
    _print_table(scores["classes"])
    if flags.output:
        flags.output.mkdir(parents=True, exist_ok=True)
        evaluation = {
            "items": len(labels),
            "source": flags.source,
            "split": flags.split,
            **scores,
        }
        text = json.dumps(evaluation, indent=2, allow_nan=False)
        (flags.output / "evaluation.json").write_text(text + "\n")
        if not multi_label:
            drawing = plots.confusion_matrix(
                scores["confusion_matrix"], trained.classes
            )
            drawing.savefig(flags.output / "confusion_matrix.png", dpi=120)
        print(f"Written to {flags.output}")
    return 0


def _judge(labels, rows, classes, multi_label, name):
    """Prints the accuracy, or the mAP; scores, with a table of the classes."""
    table = objectives.table_of_classes(labels, rows, classes, multi_label)
    if multi_label:
        value, known = objectives.mean_average_precision(labels, rows)
        sentence = objectives.map_sentence(value, known, len(classes))
        print(f"{sentence} on {len(labels):,} items of {name}.")
        return {"map": value, "map_classes": known, "classes": table}
    confusion = objectives.confusion_matrix(labels, rows)
    accuracy = float(confusion.trace() / len(labels))
    print(f"Accuracy: {accuracy:.4f} on {len(labels):,} items of {name}.")
    return {
        "accuracy": accuracy,
        "classes": table,
        "confusion_matrix": confusion.tolist(),
    }


def _load(flags, trained):
    """The sources to evaluate on: a split, or all those that the data has."""
    modality = trained.recipe.modality
    if flags.split == "all":
        return list(load_own_splits(flags.source, modality=modality).values())
    data = trained.config.get("data", {})
    kept = ("validation_fraction", "test_fraction")
    division = {name: data[name] for name in kept if name in data}
    if "seed" in trained.config:
        division["seed"] = trained.config["seed"]
    return [load_source(flags.source, flags.split, modality=modality, **division)]


def _predict(trained, source, batch_size):
    """Labels, `(n, E)` of the source's classes, and probabilities, `(n, classes)`."""
    recipe = trained.recipe
    batches = recipe.eval_dataset(source, batch_size=batch_size, one_hot=True)
    with recipe.readable_errors(source):
        return predictions(trained.model, batches, recipe.num_eval_clips)


def _columns_of_model(source, trained):
    """Which class of the model each class of a source is, by their names."""
    classes = trained.classes
    if source.multi_label and not trained.model.multi_label:
        raise ValueError(
            "The model was trained on items of one class each. "
            f"Received: {source.name} with several labels for an item"
        )
    unknown = sorted(set(source.classes) - set(classes))
    if unknown:
        raise ValueError(
            f"The model knows the classes {classes[:10]}. "
            f"Received: {source.name} with the class {unknown[0]!r}"
        )
    return [classes.index(name) for name in source.classes]


def _as_model_labels(labels, columns, num_classes):
    """The labels of a source as those of the model, int `(n, classes)`."""
    of_model = np.zeros((len(labels), num_classes), np.int64)
    of_model[:, columns] = labels
    return of_model


def _print_table(table):
    width = max(5, *(len(row["class"]) for row in table))
    scores = [key for key in table[0] if key not in ("class", "items")]
    titles = [key.replace("_", " ") for key in scores]
    print("  ".join([f"{'class':<{width}}", "items", *titles]))
    for row in table:
        shown = ["-" if row[key] is None else f"{row[key]:.3f}" for key in scores]
        cells = [f"{text:>{len(key)}}" for text, key in zip(shown, scores, strict=True)]
        print("  ".join([f"{row['class']:<{width}}", f"{row['items']:>5}", *cells]))


if __name__ == "__main__":
    run(main)
