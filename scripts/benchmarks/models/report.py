"""What whole models cost: sentences and a table."""

from benchmarks.models.cases import MODELS, PRODUCTS
from benchmarks.models.contestants import multiplications
from benchmarks.report import medians_of, milliseconds


def statements(results, setting):
    """The ratios of the results, with what is aimed at, in sentences.

    Args:
        results: list of dicts as of `benchmarks.report.new_results`.
        setting: `Setting`.
    """
    sentences = []
    for model in MODELS.values():
        medians = medians_of(results, model.name)
        seconds = {name: own for (name, _), own in medians.items()}
        own = [sentence(ratio, seconds) for ratio in model.ratios]
        own += [
            f"- {name}: {2 * multiplications(setting) / seconds[name] / 1e9:,.0f} "
            "GFLOP/s"
            for name in PRODUCTS
            if name in seconds
        ]
        if any(own):
            sentences += [f"{model.name}:", *filter(None, own)]
    return sentences


def sentence(ratio, seconds):
    """One ratio in words; `None` where one of its times is missing.

    Args:
        ratio: `Ratio`.
        seconds: dict contestant -> seconds.
    """
    others = {name: seconds[name] for name in ratio.others if name in seconds}
    if ratio.contestant not in seconds or not others:
        return None
    fastest = min(others, key=others.get)
    divided, divisor = seconds[ratio.contestant], others[fastest]
    value = divided / divisor
    text = (
        f"- {ratio.contestant} to {fastest}: {value:.2f} "
        f"({1e3 * divided:,.0f} ms to {1e3 * divisor:,.0f} ms)"
    )
    if ratio.at_least is not None:
        verdict = "met" if value >= ratio.at_least else "missed"
        text += f"; aim: at least {ratio.at_least:g}, {verdict}"
    if ratio.at_most is not None:
        verdict = "met" if value <= ratio.at_most else "missed"
        text += f"; aim: at most {ratio.at_most:g}, {verdict}"
    return text


def as_table(report):
    """The results as lines of Markdown."""
    own = report["settings"]
    size = own["image_size"]
    lines = [
        f"Image {size} x {size} x 3, {own['latents']} latents of {own['latent_dim']}, "
        f"{own['iterations']} iterations of {own['layers']} layers of {own['heads']} "
        f"heads, batch 1, float32; medians of at most {own['rounds']} rounds.",
        "",
        "| model | implementation | forward, ms | lowest, ms | difference | rounds |",
        "|---|---|---|---|---|---|",
    ]
    for result in report["results"]:
        times = result["seconds"]["forward"]
        difference = result["difference"]
        cells = [
            result["input"],
            result["contestant"],
            milliseconds(result["median_seconds"]["forward"]),
            milliseconds(min(times)),
            "-" if difference is None else f"{difference:.0e}",
            str(len(times)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
