"""What a run was measured on, and what it found, in words and files."""

import importlib.metadata
import json
import os
import pathlib
import platform
import statistics

import tensorflow as tf

import keras_perceiver as kp

PACKAGES = (
    *("keras-perceiver", "keras", "tensorflow", "numpy"),
    *("torch", "transformers", "perceiver-pytorch"),
    *("onnxruntime", "tf2onnx", "ai-edge-litert", "openvino"),
)
QUANTITIES = {"forward": "forward", "training": "forward + backward"}


def new_report(settings):
    """A report without results; says what it will be measured on.

    Args:
        settings: dict, what is the same for all results.

    Returns:
        dict with `settings`, `versions`, `machine` and `results`, an empty list.
    """
    report = {
        "settings": settings,
        "versions": versions(),
        "machine": machine(),
        "results": [],
    }
    print(measured_on(report))
    load = report["machine"]["load_before"]
    if load is not None and load > 0.25 * report["machine"]["cores"]:
        print(
            f"The machine is busy with other work, a load of {load:.1f}:"
            " times of this run are not those of a free one."
        )
    return report


def new_results(name, differences, seconds, peaks=None, **about):
    """The results of one input or model, a list of dicts; says each.

    Args:
        name: string, of what was measured.
        differences: dict contestant -> difference of its output to ours, or `None`.
        seconds: dict (contestant, quantity) -> list of seconds.
        peaks: dict contestant -> dict quantity -> peak memory in bytes, or `None`.
        **about: further entries, the same for each result.
    """
    results = []
    for contestant, difference in differences.items():
        own = {q: times for (c, q), times in seconds.items() if c == contestant}
        results.append(
            {
                "input": name,
                **about,
                "contestant": contestant,
                "difference": difference,
                "seconds": own,
                "median_seconds": {q: statistics.median(t) for q, t in own.items()},
                "peak_bytes": (peaks or {}).get(contestant, {}),
            }
        )
        print("  " + in_words(results[-1]), flush=True)
    return results


def medians_of(results, name):
    """dict (contestant, quantity) -> median seconds, of one input or model."""
    return {
        (result["contestant"], quantity): seconds
        for result in results
        if result["input"] == name
        for quantity, seconds in result["median_seconds"].items()
    }


def write(file, report, table):
    """Writes the numbers, and a table of them beside, where they are asked for.

    Args:
        file: `pathlib.Path` of the JSON; its folder is made where it is missing. `None`
            for no files.
        report: dict as of `new_report`, with `statements`, a list of sentences.
        table: list of lines of Markdown.
    """
    if file is None:
        return
    report["machine"]["load_after"] = load_average()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1))
    lines = [measured_on(report), "", *table, "", *report["statements"], ""]
    file.with_suffix(".md").write_text("\n".join(lines))


def versions():
    """Dict package -> version, of those that are installed."""
    found = {"python": platform.python_version(), "keras-perceiver": kp.__version__}
    for package in PACKAGES:
        try:
            found.setdefault(package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine():
    """What the numbers were measured on."""
    processor = platform.processor() or platform.machine()
    cpu_info = pathlib.Path("/proc/cpuinfo")
    if cpu_info.exists():
        for line in cpu_info.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "gpus": [gpu.name for gpu in tf.config.list_physical_devices("GPU")],
        "load_before": load_average(),
    }


def load_average():
    """Processes that ran or waited in the last minute, `None` where unknown."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def measured_on(report):
    """The machine and the versions, a line."""
    own = report["machine"]
    packages = ", ".join(f"{name} {v}" for name, v in report["versions"].items())
    return (
        f"{own['processor']}, {own['cores']} cores, GPUs: {own['gpus'] or 'none'}; "
        f"{packages}"
    )


def in_words(result):
    """One result as a line."""
    parts = []
    for quantity, seconds in result["median_seconds"].items():
        text = f"{QUANTITIES[quantity]} {1e3 * seconds:,.1f} ms"
        peak = result["peak_bytes"].get(quantity)
        if peak is not None:
            text += f", {peak / 2**20:,.0f} MiB"
        rounds = len(result["seconds"][quantity])
        parts.append(f"{text} ({rounds} {'round' if rounds == 1 else 'rounds'})")
    return f"{result['contestant']}: {'; '.join(parts)}"


def milliseconds(seconds):
    """A cell of a table; `None` is a dash."""
    return "-" if seconds is None else f"{1e3 * seconds:,.1f}"
