"""The page of a run, `report/index.html`, for people who were not there.

It holds all it shows, pictures too, and asks nothing of the network.
"""

import base64
import json
import math
import os
import pathlib
import platform
import shlex
import sys
from typing import NamedTuple

import jinja2
import numpy as np
import tensorflow as tf

import durable
import objectives
import plots
import run_folder
import seeing

TEMPLATE = pathlib.Path(__file__).with_name("report.html")
# What `data.json` has beside the fields of the recipe.
_NOT_OF_RECIPE = ("classes", "multi_label", "items")
# With more classes a picture of the confusion matrix shows nothing.
MOST_PICTURED_CLASSES = 60
# Longer lists are folded, or cut.
MOST_OPEN_ROWS = 20
MOST_LINES = 50
MOST_CONFUSIONS = 10


class Results(NamedTuple):
    """What is known of a run beside what its folder holds.

    Attributes:
        model: `kp.PerceiverClassifier`, trained.
        history: dict, what `fit` logged.
        metrics: dict, what `metrics.json` is to hold.
        labels: array (n, E), the labels of the test.
        rows: float array (n, E), the probabilities that the model gave.
        examples: a batch of what the model takes, to show what it attends to.
        example_labels: array (b, E), the labels of these.
        example_rows: float array (b, E), the probabilities of these.
        train_counts: list of E ints, training items of each class; `None` if not
            counted.
        evaluation_seconds: float, how long the test took.
    """

    model: object
    history: dict
    metrics: dict
    labels: np.ndarray
    rows: np.ndarray
    examples: object
    example_labels: np.ndarray
    example_rows: np.ndarray
    train_counts: list | None
    evaluation_seconds: float


def write(workdir, results):
    """Writes the page of a finished run, and its pictures as files beside it.

    Args:
        workdir: `pathlib.Path`, the run's folder, with `config.json`, `data.json` and
            perhaps lists of files in `report`.
        results: `Results`.

    Returns:
        `pathlib.Path` of the page.
    """
    config, data = (
        json.loads((workdir / f"{name}.json").read_text())
        for name in ("config", "data")
    )
    metrics = results.metrics
    folder = workdir / "report"
    folder.mkdir(exist_ok=True)
    classes, multi_label = data["classes"], data["multi_label"]
    table = objectives.table_of_classes(
        results.labels, results.rows, classes, multi_label
    )
    metric = "pr_auc" if multi_label else "accuracy"
    figures = {"learning_curves": plots.learning_curves(results.history, metric)}
    if not multi_label:
        confusion = objectives.confusion_matrix(results.labels, results.rows)
        if len(classes) <= MOST_PICTURED_CLASSES:
            figures["confusion_matrix"] = plots.confusion_matrix(confusion, classes)
    seen = seeing.look(results.model, results.examples)
    attention = {name: f"attention_{name}" for name in seen.figures}
    figures |= {attention[name]: seen.figures[name] for name in attention}
    pictures = {}
    for name, drawing in figures.items():
        content = plots.png(drawing)
        (folder / f"{name}.png").write_bytes(content)
        pictures[name] = "data:image/png;base64," + base64.b64encode(content).decode()

    page = (
        _jinja()
        .from_string(TEMPLATE.read_text())
        .render(
            title=workdir.resolve().name,
            data=data,
            metrics=metrics,
            score=_score(metrics, table, multi_label),
            table=table,
            score_names=[name for name in table[0] if name not in ("class", "items")],
            train_counts=results.train_counts,
            confusions=None if multi_label else _most_frequent(confusion, classes),
            is_table_open=len(classes) <= MOST_OPEN_ROWS,
            pictures=pictures,
            attention=attention,
            seen=seen,
            shown=_shown(results, seen.num_examples, classes, multi_label),
            parts=_parts(results.model),
            recipe=run_folder.flat(
                {key: own for key, own in data.items() if key not in _NOT_OF_RECIPE}
            ),
            config=run_folder.flat(config),
            command=shlex.join(["python", *sys.argv]),
            environment=_environment(config, metrics),
            timings=_timings(results, metrics),
            files=_files(folder),
        )
    )
    durable.write_text(folder / "index.html", page)
    return folder / "index.html"


def _jinja():
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "number": number}
    return environment


def duration(seconds):
    """Seconds for people: `"0.4 s"`, `"12 min 5 s"`, `"3 h 20 min"`."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def number(value):
    """A number for people, of at most 4 digits after the point; others as they are."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return value


def _score(metrics, table, multi_label):
    """What the page says first."""
    items = metrics["test_items"]
    if multi_label:
        value, known = metrics["test_map"], metrics["test_map_classes"]
        shown = "undefined" if value is None else f"{value:.3f}"
        return {
            "name": "mean average precision",
            "value": shown,
            "sentence": f"The mean is over {known:,} classes, on {items:,} test items",
            "validation": (
                "undefined"
                if metrics["validation_map"] is None
                else metrics["validation_map"]
            ),
        }
    accuracy = metrics["test_accuracy"]
    most = max(row["items"] for row in table)
    low, high = wilson_interval(round(accuracy * items), items)
    return {
        "name": "test accuracy",
        "value": f"{accuracy:.3f}",
        "sentence": f"{round(accuracy * items):,} of {items:,} test items are right. "
        f"With as many others the accuracy may be {low:.3f} to {high:.3f} (95% "
        f"interval); always the most frequent class would be {most / items:.3f}",
        "validation": metrics["validation_accuracy"],
    }


def wilson_interval(right, items, z=1.96):
    """The 95% interval of a proportion, by Wilson's score.

    Args:
        right, items: ints, the first no larger.
        z: float, quantile of the normal distribution.

    Returns:
        Pair of floats in [0, 1].
    """
    part = right / items
    middle = part + z * z / (2 * items)
    reach = z * math.sqrt(part * (1 - part) / items + z * z / (4 * items * items))
    scale = 1 + z * z / items
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def _most_frequent(confusion, classes):
    """The confusions that happen most, a list of dicts."""
    wrong = confusion * (1 - np.eye(len(classes), dtype=int))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [
        {
            "labelled": classes[i],
            "predicted": classes[j],
            "count": int(wrong[i, j]),
            "items": int(confusion[i].sum()),
        }
        for i, j in pairs
        if wrong[i, j]
    ]


def _shown(results, count, classes, multi_label):
    """For each example that is shown, its labels and the most probable class."""
    rows = zip(results.example_labels, results.example_rows, strict=True)
    shown = []
    for labels, row in list(rows)[:count]:
        best = int(np.argmax(row))
        shown.append(
            {
                "labels": [classes[i] for i in np.flatnonzero(labels)],
                "best": classes[best],
                "probability": float(row[best]),
                "is_right": bool(labels[best]),
            }
        )
    return shown


def _parts(model):
    """Pairs of the names of a model's layers and their parameters, without empty."""
    layers = [*model.backbone.layers, *model.layers]
    found = {
        layer.name: layer.count_params()
        for layer in layers
        if layer is not model.backbone
    }
    return [(name, count) for name, count in found.items() if count]


def _environment(config, metrics):
    """Pairs of names and values of what the run was computed with."""
    strategy = config["strategy"]
    devices = [
        tf.config.experimental.get_device_details(device).get("device_name", "GPU")
        for device in tf.config.list_physical_devices("GPU")
    ]
    names = {"keras_perceiver": "keras-perceiver"}
    pairs = [
        (names.get(name, name), value) for name, value in metrics["versions"].items()
    ]
    pairs += [
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("processor", f"{_processor()}, {os.cpu_count()} cores"),
    ]
    if memory := _memory():
        pairs.append(("memory", f"{memory / 2**30:.1f} GiB"))
    pairs += [
        ("accelerators", ", ".join(devices) or "none"),
        ("strategy", strategy),
        ("dtype", config["model"]["dtype"]),
        ("seed", config["seed"]),
    ]
    return pairs


def _processor():
    """The name of the processor, as far as the system tells."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine()])[0].strip()


def _memory():
    """Bytes of memory of the machine; `None` where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _timings(results, metrics):
    """Pairs of what took time and how long, for people."""
    history = results.history
    seconds = history["seconds"]
    rate = float(np.median(history["items_per_second"]))
    return [
        ("training, with validation", duration(metrics["seconds"])),
        ("all cores together", duration(metrics["core_seconds"])),
        ("an epoch (median)", duration(float(np.median(seconds)))),
        ("first epoch, which compiles", duration(seconds[0])),
        ("training items a second (median)", number(rate)),
        ("test", duration(results.evaluation_seconds)),
    ]


def _files(folder):
    """What the run has listed of its files, as dicts with the first lines."""
    found = []
    for name, what in (
        ("skipped.txt", "unreadable and left out"),
        ("duplicates.txt", "of the validation and the test also in training"),
    ):
        if (folder / name).exists():
            lines = (folder / name).read_text(encoding="utf-8").splitlines()
            found.append(
                {
                    "name": name,
                    "what": what,
                    "count": len(lines),
                    "lines": lines[:MOST_LINES],
                }
            )
    return found
