"""The subcommands `train_step`, and `train_step_memory`, which it starts."""

import json

import keras

from benchmarks import arguments
from benchmarks import report as reporting
from benchmarks.arguments import positive
from benchmarks.contestants import check_outputs, installed
from benchmarks.measuring import measure_times, timed_in_a_row
from benchmarks.memory import Memory, in_fresh_process
from benchmarks.train_step.contestants import CONTESTANTS
from benchmarks.train_step.report import as_table, statements
from benchmarks.train_step.task import LARGE, SMALL, Task

NUM_STEPS = 2


def add_to(commands):
    """Adds the subcommands to those of a parser."""
    command = commands.add_parser("train_step", help="a training step of the presets")
    command.set_defaults(run=train_step)
    arguments.add_shared(command, rounds=5)
    arguments.add_contestants(command, CONTESTANTS, max_seconds=90)
    add = command.add_argument
    models = (*SMALL, LARGE)
    add("--model", action="append", choices=models, help="may be repeated")
    add("--batch-size", type=positive(int), default=16, help="of the small presets")
    add("--skip-memory", action="store_true", help="measure times only")

    command = commands.add_parser("train_step_memory", help="one in one process")
    command.set_defaults(run=lambda args: peak_memory(**args.order))
    command.add_argument("order", type=json.loads)


def train_step(args):
    """Measures, prints and writes."""
    contestants = installed(CONTESTANTS, args.only)
    report = reporting.new_report({"rounds": args.rounds})
    for model in args.model or (*SMALL, LARGE):
        batch_size = 1 if model == LARGE else args.batch_size
        print(f"{model}, batch {batch_size}:", flush=True)
        report["results"] += measure_model(model, batch_size, contestants, args)
        report["statements"] = statements(report["results"])
        # After each model, so that an interrupted run is not lost.
        reporting.write(args.json, report, as_table(report))
    for statement in report["statements"]:
        print(statement)


def measure_model(model, batch_size, contestants, args):
    """All contestants on one model: a list of results, dicts."""
    task = Task(model, batch_size)
    runners = {name: own.make(task) for name, own in contestants.items()}
    forward = {name: runner.runs(["forward"]) for name, runner in runners.items()}
    expected = keras.ops.convert_to_numpy(task.model(task.inputs, training=False))
    differences = check_outputs(contestants, forward, expected)
    runs = {name: runners[name].runs(["training"]) for name in differences}
    seconds = measure_times(runs, args.rounds, args.max_seconds, timed_in_a_row)
    # The other processes need the memory that this one holds.
    del task, runners, forward, runs
    peaks = {}
    if not args.skip_memory:
        for name in differences:
            peaks[name] = measure_peak_memory(name, model, batch_size)
    return reporting.new_results(
        model, differences, seconds, peaks, batch_size=batch_size
    )


def measure_peak_memory(name, model, batch_size):
    """Peak memory in bytes, in a fresh process: dict with "first" and "training"."""
    order = {"name": name, "model": model, "batch_size": batch_size}
    try:
        return in_fresh_process("train_step_memory", order)
    except ChildProcessError as error:
        print(f"  {name}: no peak memory, its process ended: {error}")
        return {"first": None, "training": None}


def peak_memory(name, model, batch_size):
    """Prints the peak memory of this process, beyond what it held before.

    The process imports all it needs, takes a step of a small model, which loads
    libraries and starts threads, and makes the batch. What it holds then is subtracted
    from the highest that it holds in the first step, which traces and compiles, and in
    those that follow. Weights, gradients and the optimizer's moments count, and so does
    the byte array where one is made. On a GPU: the highest of its allocator.
    """
    make = CONTESTANTS[name].make
    make(Task("perceiver_modelnet40_small", 1, same_weights=False)).training()
    task = Task(model, batch_size, same_weights=False)
    memory = Memory()
    memory.forget_peak()
    runner = make(task)
    runner.training()
    peaks = {"first": memory.peak()}
    memory.forget_peak()
    for _ in range(NUM_STEPS):
        runner.training()
    peaks["training"] = memory.peak()
    print(json.dumps(peaks))
