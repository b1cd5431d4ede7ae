"""The subcommand `models`."""

import dataclasses
import pathlib

from benchmarks import report as reporting
from benchmarks.arguments import positive
from benchmarks.contestants import check_outputs, installed
from benchmarks.measuring import measure_times
from benchmarks.models.cases import MODELS
from benchmarks.models.report import as_table, statements
from benchmarks.models.task import Setting


def add_to(commands):
    """Adds the subcommand to those of a parser."""
    command = commands.add_parser("models", help="whole models, forward")
    command.set_defaults(run=models)
    add = command.add_argument
    add("--json", type=pathlib.Path, required=True, help="file of all numbers")
    add("--only", action="append", choices=MODELS, help="may be repeated")
    add("--rounds", type=positive(int), default=5, help="turns of each contestant")
    add(
        "--max-seconds",
        type=positive(float),
        default=60,
        help="of one contestant for one model; it then sits out",
    )
    for field in dataclasses.fields(Setting):
        flag = "--" + field.name.replace("_", "-")
        add(flag, type=positive(int), default=field.default)


def models(args):
    """Measures, prints and writes."""
    sizes = {f.name: getattr(args, f.name) for f in dataclasses.fields(Setting)}
    if args.latent_dim % args.heads:
        raise ValueError(
            "`--heads` must divide `--latent-dim`. Received: "
            f"--heads={args.heads}, --latent-dim={args.latent_dim}"
        )
    setting = Setting(**sizes)
    report = reporting.new_report({**sizes, "rounds": args.rounds})
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
