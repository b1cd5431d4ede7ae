"""What a training step costs: ratios and a table."""

from benchmarks.report import milliseconds
from benchmarks.train_step.contestants import OTHER, OURS

# How many times as fast as the other, and what part of its memory.
FASTER, SMALLER = 1.3, 0.5


def statements(results):
    """The ratios of the results to Hugging Face's, with the aims, in sentences."""
    sentences = []
    for model in dict.fromkeys(result["input"] for result in results):
        own = {r["contestant"]: r for r in results if r["input"] == model}
        lines = [
            sentence(name, own[name], own[OTHER])
            for name in OURS
            if name in own and OTHER in own
        ]
        if lines:
            sentences += [f"{model}:", *lines]
    return sentences


def sentence(name, result, other):
    """One of ours beside the other."""
    seconds, of_other = (r["median_seconds"]["training"] for r in (result, other))
    faster = of_other / seconds
    text = (
        f"- {name} takes {1 / seconds:,.2f} steps/s, {OTHER} {1 / of_other:,.2f}: "
        f"{faster:.2f} times as fast (aim: at least {FASTER:g}, "
        f"{'met' if faster >= FASTER else 'missed'})"
    )
    peak, of_other = (r["peak_bytes"].get("training") for r in (result, other))
    if peak and of_other:
        part = peak / of_other
        text += (
            f"; peak memory {part:.2f} of the other's (aim: at most {SMALLER:g}, "
            f"{'met' if part <= SMALLER else 'missed'})"
        )
    return text


def as_table(report):
    """The results as lines of Markdown."""
    lines = [
        f"Float32, AdamW; medians of at most {report['settings']['rounds']} turns of "
        "steps in a row.",
        "",
        "| model | batch | implementation | step, ms | steps/s | peak of a step, MiB | "
        "and of the first, MiB | rounds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in report["results"]:
        seconds = result["median_seconds"]["training"]
        peaks = [result["peak_bytes"].get(key) for key in ("training", "first")]
        cells = [
            result["input"],
            str(result["batch_size"]),
            result["contestant"],
            milliseconds(seconds),
            f"{1 / seconds:,.2f}",
            *("-" if p is None else f"{p / 2**20:,.0f}" for p in peaks),
            str(len(result["seconds"]["training"])),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
