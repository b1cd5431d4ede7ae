"""The subcommands `cross_attention`, and `peak_memory`, which it starts."""

import dataclasses
import json

from benchmarks import arguments
from benchmarks import report as reporting
from benchmarks.arguments import positive
from benchmarks.contestants import check_outputs, installed
from benchmarks.cross_attention.contestants import CONTESTANTS, estimated_bytes
from benchmarks.cross_attention.report import as_table, draw, statements
from benchmarks.cross_attention.task import (
    CASES,
    QUICK,
    Case,
    Setting,
    channels_of,
    make_task,
)
from benchmarks.measuring import measure_times
from benchmarks.memory import Memory, in_fresh_process
from benchmarks.report import QUANTITIES


def add_to(commands):
    """Adds the subcommands to those of a parser."""
    command = commands.add_parser("cross_attention", help="one read of the inputs")
    command.set_defaults(run=cross_attention)
    arguments.add_shared(command, rounds=7)
    arguments.add_contestants(command, CONTESTANTS, max_seconds=10)
    arguments.add_sizes(command, Setting)
    add = command.add_argument
    add("--quick", action="store_true", help="few sizes")
    add("--max-inputs", type=positive(int), help="leave larger inputs out")
    add("--memory-gb", type=positive(float), default=12, help="skip what needs more")
    add("--skip-memory", action="store_true", help="measure times only")

    command = commands.add_parser("peak_memory", help="one contestant in one process")
    command.set_defaults(run=lambda args: peak_memory(args.order))
    command.add_argument("order", type=json.loads)


def cross_attention(args):
    """Measures, prints and writes."""
    setting = arguments.sizes_of(args, Setting)
    cases = [
        case
        for case in (QUICK if args.quick else CASES)
        if args.max_inputs is None or case.num_inputs <= args.max_inputs
    ]
    if not cases:
        raise ValueError(
            f"`--max-inputs` must be at least {CASES[0].num_inputs:,}, the smallest of "
            f"the inputs. Received: {args.max_inputs}"
        )
    contestants = installed(CONTESTANTS, args.only)
    report = reporting.new_report(
        {**dataclasses.asdict(setting), "rounds": args.rounds}
    )
    for case in cases:
        print(
            f"{case.name}: M = {case.num_inputs:,}, C = {channels_of(case, setting)}",
            flush=True,
        )
        report["results"] += measure_case(case, setting, contestants, args)
        report["statements"] = statements(report["results"], setting)
        # After each case, so that an interrupted run is not lost.
        reporting.write(args.json, report, as_table(report))
        if args.json is not None:
            draw(report["results"], args.json.with_suffix(".png"))
    for statement in report["statements"]:
        print(statement)


def measure_case(case, setting, contestants, args):
    """All contestants on inputs of one size: a list of results, dicts."""
    task = make_task(case, setting)
    runs = {}
    for name in contestants:
        quantities = affordable(name, case, setting, args.memory_gb)
        if quantities:
            runs[name] = contestants[name].make(task).runs(quantities)
    differences = dict.fromkeys(runs)
    if not all(contestants[name].is_reference for name in runs):
        ours = CONTESTANTS["grid"].make(task).forward()
        differences = check_outputs(contestants, runs, ours, residual=task.latents)
    runs = {name: runs[name] for name in differences}
    seconds = measure_times(runs, args.rounds, args.max_seconds)
    channels = task.channels
    # The other processes need the memory that this one holds.
    del task, runs
    peaks = {}
    for name, quantity in seconds:
        if not (args.skip_memory or contestants[name].is_reference):
            peaks.setdefault(name, []).append(quantity)
    return reporting.new_results(
        case.name,
        differences,
        seconds,
        peaks={
            name: measure_peak_memory(name, case, setting, quantities)
            for name, quantities in peaks.items()
        },
        kind=case.kind,
        grid=case.grid,
        num_inputs=case.num_inputs,
        channels=channels,
    )


def affordable(name, case, setting, memory_gb):
    """The quantities whose arrays fit in the budget; says what does not."""
    contestant = CONTESTANTS[name]
    quantities = []
    for quantity, text in QUANTITIES.items():
        needed = estimated_bytes(contestant.way, case, setting, quantity) / 1e9
        if needed <= memory_gb:
            quantities.append(quantity)
        else:
            print(
                f"  {name}: {text} is skipped, it would need about {needed:.1f} GB of "
                f"the {memory_gb:g} GB allowed (--memory-gb)"
            )
    return quantities


def measure_peak_memory(name, case, setting, quantities):
    """Peak memory in bytes, in a fresh process: dict quantity -> int or `None`."""
    order = {
        "name": name,
        "case": dataclasses.asdict(case),
        "setting": dataclasses.asdict(setting),
        "quantities": quantities,
    }
    try:
        return in_fresh_process("peak_memory", order)
    except ChildProcessError as error:
        print(f"  {name}: no peak memory, its process ended: {error}")
        return dict.fromkeys(quantities)


def peak_memory(order):
    """Prints the peak memory of this process, beyond what it held before.

    The process imports all it needs, runs the implementation once at a tiny size,
    which loads libraries and starts threads, and makes the content, the latents and
    the weights. What it holds then is subtracted from the highest that it holds until
    the end of one run, tracing and compiling included, and the byte array, where one
    is made. On a GPU: the highest of its allocator, nothing subtracted.
    """
    case = Case(**{**order["case"], "grid": tuple(order["case"]["grid"])})
    setting = Setting(**order["setting"])
    make = CONTESTANTS[order["name"]].make
    tiny = dataclasses.replace(case, grid=(2,) * len(case.grid))
    warm_up = make(make_task(tiny, setting))
    warm_up.forward()
    warm_up.training()
    task = make_task(case, setting)
    start = Memory()
    runner = make(task)
    peaks = {}
    for quantity in order["quantities"]:
        start.forget_peak()
        getattr(runner, quantity)()
        peaks[quantity] = start.peak()
    print(json.dumps(peaks))
