"""The subcommand `pipelines`."""

import argparse
import pathlib
import tempfile

from benchmarks import arguments
from benchmarks import report as reporting
from benchmarks.arguments import positive
from benchmarks.contestants import is_installed
from benchmarks.measuring import measure_rates
from benchmarks.pipelines import decoding, throughput
from benchmarks.pipelines.cases import CASES, CHOICES
from benchmarks.pipelines.report import as_table, new_result, statements


def add_to(commands):
    """Adds the subcommand to those of a parser."""
    command = commands.add_parser(
        "pipelines", help="from files to batches, beside what a model takes"
    )
    command.set_defaults(run=pipelines)
    arguments.add_shared(command, rounds=5)
    add = command.add_argument
    add(
        "--modalities",
        nargs="+",
        choices=CHOICES,
        metavar="NAME",
        default=list(CASES),
        help=f"of {', '.join(CHOICES)}; all without the flag",
    )
    add("--files", type=positive(int), default=256, help="of each kind")
    add("--seconds", type=positive(float), default=2, help="of a turn")
    add(
        "--quick",
        action=_Quick,
        nargs=0,
        help="one round of half a second, few files: rough figures",
    )


class _Quick(argparse.Action):
    """Small sizes, which flags that follow may change."""

    def __call__(self, parser, namespace, values, option_string=None):
        namespace.rounds, namespace.seconds, namespace.files = 1, 0.5, 64


def pipelines(args):
    """Measures, prints and writes."""
    report = reporting.new_report(
        {"files": args.files, "rounds": args.rounds, "seconds": args.seconds}
    )
    report["decoding"] = []
    with tempfile.TemporaryDirectory() as folder:
        folders = _Folders(pathlib.Path(folder), args.files)
        for name in _chosen(args.modalities):
            print(f"{name}:", flush=True)
            report["results"].append(measure_case(name, folders, args))
            if name == "image":
                report["decoding"] = measure_decoding(folders, args)
            report["statements"] = statements(report)
            # After each modality, so that an interrupted run is not lost.
            reporting.write(args.json, report, as_table(report))
    print("", *as_table(report), "", *report["statements"], sep="\n")


def measure_case(name, folders, args):
    """One modality: a dict."""
    case = CASES[name]
    starts, made = throughput.make_starts(folders.of(case.write), case.get_config())
    print(f"  {case.files} -> {made}", flush=True)
    rates = measure_rates(starts, args.rounds, args.seconds)
    return new_result(input=name, files=case.files, made=made, rates=rates)


def measure_decoding(folders, args):
    """Both decoders of images, on all kinds of files and crops: a list of dicts."""
    results = []
    for file_format, write in decoding.FORMATS.items():
        for name, fit in decoding.FITS.items():
            print(f"{file_format}, {name}:", flush=True)
            batch_size = min(decoding.BATCH_SIZE, args.files)
            datasets = decoding.make_datasets(folders.of(write), fit, batch_size)
            differences = decoding.differences(datasets)
            starts = decoding.make_starts(datasets)
            rates = measure_rates(starts, args.rounds, args.seconds)
            result = new_result(
                input=f"{file_format}, {name}", differences=differences, rates=rates
            )
            results.append(result)
    return results


class _Folders:
    """Class folders of files, written when they are asked for.

    Args:
        root: `pathlib.Path`.
        count: int, files of each kind.
    """

    def __init__(self, root, count):
        self._root = root
        self._count = count

    def of(self, write):
        """The folder of what a function of `benchmarks.pipelines.files` writes."""
        folder = self._root / write.__name__
        if not folder.exists():
            folder.mkdir()
            write(folder, self._count)
        return folder


def _chosen(modalities):
    """Names of cases, without those whose packages are missing; says which."""
    chosen = []
    for name in dict.fromkeys(
        name for choice in modalities for name in CHOICES[choice]
    ):
        missing = [p for p in CASES[name].packages if not is_installed(p)]
        for package in missing:
            print(f"{name} is left out: the package {package} is not installed.")
        if not missing:
            chosen.append(name)
    if not chosen:
        raise ValueError(
            "`--modalities` must name one whose packages are installed. "
            f"Received: {', '.join(modalities)}"
        )
    return chosen
