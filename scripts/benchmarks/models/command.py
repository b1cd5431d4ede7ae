"""The subcommand `models`."""

import dataclasses

from benchmarks import arguments
from benchmarks import report as reporting
from benchmarks.contestants import check_outputs, installed
from benchmarks.measuring import measure_times
from benchmarks.models.cases import MODELS
from benchmarks.models.report import as_table, statements
from benchmarks.models.task import Setting


def add_to(commands):
    """Adds the subcommand to those of a parser."""
    command = commands.add_parser("models", help="whole models, forward")
    command.set_defaults(run=models)
    arguments.add_shared(command, rounds=5)
    arguments.add_contestants(command, MODELS, max_seconds=60)
    arguments.add_sizes(command, Setting)


def models(args):
    """Measures, prints and writes."""
    if args.latent_dim % args.heads:
        raise ValueError(
            "`--heads` must divide `--latent-dim`. Received: "
            f"--heads={args.heads}, --latent-dim={args.latent_dim}"
        )
    setting = arguments.sizes_of(args, Setting)
    report = reporting.new_report(
        {**dataclasses.asdict(setting), "rounds": args.rounds}
    )
    for name in args.only or MODELS:
        print(f"{MODELS[name].name}:", flush=True)
        report["results"] += measure_model(MODELS[name], setting, args)
        report["statements"] = statements(report["results"], setting)
        # After each model, so that an interrupted run is not lost.
        reporting.write(args.json, report, as_table(report))
    for statement in report["statements"]:
        print(statement)


def measure_model(model, setting, args):
    """All contestants on one model: a list of results, dicts."""
    task = model.make_task(setting)
    contestants = installed(model.contestants)
    runs = {
        name: contestant.make(task).runs(["forward"])
        for name, contestant in contestants.items()
    }
    ours = runs[next(iter(runs))]["forward"]()
    differences = check_outputs(contestants, runs, ours)
    runs = {name: runs[name] for name in differences}
    seconds = measure_times(runs, args.rounds, args.max_seconds)
    return reporting.new_results(model.name, differences, seconds)
