"""The subcommand `serving`."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np

from benchmarks import arguments
from benchmarks import report as reporting
from benchmarks.arguments import positive
from benchmarks.contestants import TOLERANCE, difference_to, is_installed
from benchmarks.measuring import measure_times
from benchmarks.serving.contestants import CONTESTANTS
from benchmarks.serving.report import as_table, in_words, statements
from benchmarks.serving.task import DIGITS, Task

MODELS = (DIGITS, "perceiver_imagenet")
COLD_START = pathlib.Path(__file__).with_name("cold_start.py")


def add_to(commands):
    """Adds the subcommand to those of a parser."""
    command = commands.add_parser("serving", help="a model as it is served")
    command.set_defaults(run=serving)
    arguments.add_shared(command, rounds=200)
    arguments.add_contestants(command, CONTESTANTS, max_seconds=20)
    add = command.add_argument
    add(
        "--model",
        action="append",
        help='"digits", a preset, or the folder of a run; may be repeated',
    )
    add("--batch-sizes", type=positive(int), nargs="+", default=[1, 16])
    add("--cold-starts", type=int, default=3, help="fresh processes of each")


def serving(args):
    """Measures, prints and writes."""
    settings = {"rounds": args.rounds, "batch_sizes": args.batch_sizes}
    report = reporting.new_report(settings)
    for model in args.model or MODELS:
        print(f"{model}:", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            report["results"] += measure_model(model, pathlib.Path(folder), args)
        report["statements"] = statements(report["results"])
        # After each model, so that an interrupted run is not lost.
        reporting.write(args.json, report, as_table(report))
    for statement in report["statements"]:
        print(statement)


def measure_model(name, folder, args):
    """All contestants on one model: a list of results, dicts."""
    task = Task(name, folder)
    batches = {f"batch {size}": task.inputs(size) for size in args.batch_sizes}
    reference = as_probabilities(task.model.predict_on_batch(only_batch(task, 2)))
    paths, export_seconds, differences, runs = {}, {}, {}, {}
    for own in args.only or CONTESTANTS:
        contestant = CONTESTANTS[own]
        missing = [p for p in contestant.packages if not is_installed(p)]
        if missing:
            print(f"  {own} is left out: {', '.join(missing)} is not installed.")
            continue
        start = time.perf_counter()
        try:
            path = contestant.export(task) if contestant.export else None
        except ValueError as error:
            print(f"  {own} is left out: {error}")
            continue
        export_seconds[own] = time.perf_counter() - start if path else None
        # A runtime that fits its plan to a shape is opened once for each.
        answers = {key: contestant.start(task, path) for key in batches}
        output = as_probabilities(next(iter(answers.values()))(task.inputs(2)))
        differences[own] = difference_to(reference, output)
        if differences[own] > TOLERANCE:
            print(
                f"  {own} is left out: its probabilities differ from ours by "
                f"{differences[own]:.1e} of the largest, more than {TOLERANCE:g}"
            )
            continue
        paths[own] = path
        runs[own] = {
            key: lambda answer=answers[key], inputs=batches[key]: answer(inputs)
            for key in batches
        }
    seconds = measure_times(runs, args.rounds, args.max_seconds)
    np.savez(folder / "inputs.npz", **task.inputs(1))
    weight_bytes = task.weight_bytes
    results = []
    for own in runs:
        path = paths[own]
        times = {key: seconds[own, key] for key in batches}
        results.append(
            {
                "input": name,
                "contestant": own,
                "difference": differences[own],
                "seconds": times,
                "median_seconds": {k: statistics.median(t) for k, t in times.items()},
                "latency": {
                    key: latency(t, size)
                    for (key, t), size in zip(
                        times.items(), args.batch_sizes, strict=True
                    )
                },
                "weight_bytes": weight_bytes,
                "file_bytes": size_of(path),
                "export_seconds": export_seconds[own],
                "cold_start_seconds": cold_start(own, path, folder, args.cold_starts),
            }
        )
        print("  " + in_words(results[-1]), flush=True)
    return results


def only_batch(task, size):
    """A batch as the model takes it."""
    inputs = task.inputs(size)
    return next(iter(inputs.values())) if len(inputs) == 1 else inputs


def as_probabilities(output):
    """Logits as probabilities; those of a SavedModel may be such already."""
    output = np.asarray(output)
    is_done = output.min() >= 0 and np.allclose(output.sum(axis=-1), 1.0, atol=1e-4)
    return output if is_done else np.asarray(keras.ops.softmax(output, axis=-1))


def latency(seconds, batch_size):
    """What a client sees who waits for each answer before it asks again.

    Returns:
        dict with `median` and `percentile_99` in seconds, the latter `None` of fewer
        than 100 calls, and `throughput` in examples a second.
    """
    return {
        "median": statistics.median(seconds),
        "percentile_99": (
            float(np.percentile(seconds, 99)) if len(seconds) >= 100 else None
        ),
        "throughput": batch_size * len(seconds) / sum(seconds),
    }


def size_of(path):
    """Bytes of a file or a folder; of a .xml with the .bin beside it."""
    if path is None:
        return None
    path = pathlib.Path(path)
    files = path.rglob("*") if path.is_dir() else [path]
    if path.suffix == ".xml":
        files = [path, path.with_suffix(".bin")]
    return sum(file.stat().st_size for file in files if file.is_file())


def cold_start(name, path, folder, count):
    """Medians over fresh processes, seconds: dict with `total`, `open`, `first_answer`.

    `total` is from the start of the process to its first answer, imports included.
    `None` where nothing is opened or the process fails.
    """
    if path is None or count == 0:
        return None
    found = []
    for _ in range(count):
        order = {
            "runtime": CONTESTANTS[name].opening,
            "path": path,
            "inputs": str(folder / "inputs.npz"),
            "started": time.time(),
        }
        result = subprocess.run(
            [sys.executable, str(COLD_START), json.dumps(order)],
            capture_output=True,
            text=True,
            env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        )
        if result.returncode:
            lines = result.stderr.strip().splitlines() or ["no message"]
            print(f"  {name}: no cold start, its process ended: {lines[-1]}")
            return None
        found.append(json.loads(result.stdout.splitlines()[-1]))
    return {key: statistics.median(x[key] for x in found) for key in found[0]}
