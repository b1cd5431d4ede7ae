"""What pipelines and models make of files: sentences and tables."""

import statistics

from benchmarks.pipelines.throughput import QUANTITIES

AT_LEAST = 1.0


def new_result(**about):
    """A result with the medians of its rates, `about["rates"]`; says it."""
    medians = {name: statistics.median(own) for name, own in about["rates"].items()}
    result = {**about, "median_rates": medians}
    texts = [
        f"{QUANTITIES.get(name, name)} {own:,.0f}" for name, own in medians.items()
    ]
    print(f"  items/s: {', '.join(texts)}", flush=True)
    return result


def bottleneck(result):
    """Who holds training from files up, and how many times the other is faster.

    Returns:
        Pair of "pipeline" or "model", and a float of at least 1.
    """
    pipeline, model = (result["median_rates"][name] for name in ("files", "model"))
    if pipeline < model:
        return "pipeline", model / pipeline
    return "model", pipeline / model


def statements(report):
    """What the results say, in sentences."""
    sentences = []
    for result in report["results"]:
        slower, ratio = bottleneck(result)
        other = {"pipeline": "the model", "model": "the pipeline"}[slower]
        sentences.append(
            f"- {result['input']}: the bottleneck is the {slower}; {other} is "
            f"{ratio:.2f} times as fast"
        )
    for result in report["decoding"]:
        rates = result["median_rates"]
        ratio = rates["ours"] / rates["keras"]
        verdict = "met" if ratio >= AT_LEAST else "missed"
        sentences.append(
            f"- {result['input']}: ours to image_dataset_from_directory {ratio:.2f} "
            f"({rates['ours']:,.0f} to {rates['keras']:,.0f} items/s); aim: at least "
            f"{AT_LEAST:g}, {verdict}"
        )
    return sentences


def as_table(report):
    """The results as lines of Markdown."""
    own = report["settings"]
    lines = [
        f"Items a second, medians of {own['rounds']} rounds of {own['seconds']:g} s; "
        f"{own['files']} files of each kind, which the system has in its memory.",
        "",
        f"| | files | {' | '.join(QUANTITIES.values())} | bottleneck |",
        "|---" * (3 + len(QUANTITIES)) + "|",
    ]
    for result in report["results"]:
        rates = [result["median_rates"].get(name) for name in QUANTITIES]
        slower, ratio = bottleneck(result)
        cells = [
            *(result["input"], result["files"]),
            *("-" if rate is None else f"{rate:,.0f}" for rate in rates),
            f"{slower}, {ratio:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if not report["decoding"]:
        return lines
    lines += [
        "",
        "| images | ours | image_dataset_from_directory | ratio | mean difference, "
        "levels of 255 | largest |",
        "|---" * 6 + "|",
    ]
    for result in report["decoding"]:
        rates, off = result["median_rates"], result["differences"]
        cells = [
            result["input"],
            f"{rates['ours']:,.0f}",
            f"{rates['keras']:,.0f}",
            f"{rates['ours'] / rates['keras']:.2f}",
            f"{off['mean']:.2f}",
            f"{off['largest']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
