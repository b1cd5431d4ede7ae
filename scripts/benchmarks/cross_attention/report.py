"""What reads cost: sentences, a table, and a plot against M."""

import matplotlib
import numpy as np

from benchmarks.cross_attention.contestants import CONTESTANTS, MATMUL_SIZE
from benchmarks.cross_attention.task import REFERENCE
from benchmarks.report import QUANTITIES, medians_of, milliseconds

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SLOPE_FROM = 16_000


def statements(results, setting):
    """What the results say, in sentences."""
    medians = medians_of(results, REFERENCE.name)
    sentences = [f"On {REFERENCE.name} x 3, {setting.latents} latents:"]

    def compare(name, other, quantity="forward"):
        own, others = medians.get((name, quantity)), medians.get((other, quantity))
        if own and others:
            sentences.append(
                f"- {QUANTITIES[quantity]}, {name} to {other}: {own / others:.2f} "
                f"({1e3 * own:,.0f} ms to {1e3 * others:,.0f} ms)"
            )

    for suffix in ("", "-xla"):
        compare(f"grid{suffix}", "softmax")
        for quantity in QUANTITIES:
            for other in ("projected", "dense"):
                compare(other + suffix, f"grid{suffix}", quantity)
            for other in ("torch-sdpa", "hugging-face", "perceiver-pytorch"):
                compare(other, f"grid{suffix}", quantity)
    for quantity in QUANTITIES:
        if ("mlp", quantity) in medians:
            sentences.append(
                f"- {QUANTITIES[quantity]} of the MLP of a whole cross-attend, which "
                f"is in none of these times: {1e3 * medians['mlp', quantity]:,.0f} ms"
            )
    if ("matmul", "forward") in medians:
        rate = 2 * MATMUL_SIZE**3 / medians["matmul", "forward"] / 1e9
        sentences.append(f"- products of large matrices: {rate:,.0f} GFLOP/s")
    if len(sentences) == 1:
        sentences = []
    for kind in ("image", "video"):
        for name in ("grid", "grid-xla"):
            for quantity, text in QUANTITIES.items():
                fitted = slope(results, kind, name, quantity)
                if fitted is not None:
                    sentences.append(
                        f"Slope of log time against log M, {kind}, {name}, {text}: "
                        f"{fitted:.2f}"
                    )
    return sentences


def slope(results, kind, name, quantity):
    """Of a line through log time against log M, from 16,000 inputs on, or `None`."""
    points = [
        (r["num_inputs"], r["median_seconds"][quantity])
        for r in results
        if (r["kind"], r["contestant"]) == (kind, name)
        and r["num_inputs"] >= SLOPE_FROM
        and quantity in r["median_seconds"]
    ]
    if len(points) < 2:
        return None
    inputs, seconds = np.log(np.array(points, "float64")).T
    return float(np.polyfit(inputs, seconds, 1)[0])


def as_table(report):
    """The results as lines of Markdown."""
    setting = report["settings"]
    lines = [
        f"{setting['latents']} latents of {setting['latent_dim']}, one head, batch 1, "
        f"float32; medians of at most {setting['rounds']} rounds.",
        "",
        "| inputs | M | C | implementation | forward, ms | forward + backward, ms | "
        "peak of forward, MiB | peak of both, MiB | rounds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in report["results"]:
        times = [result["median_seconds"].get(q) for q in QUANTITIES]
        peaks = [result["peak_bytes"].get(q) for q in QUANTITIES]
        rounds = [str(len(result["seconds"].get(q, []))) for q in QUANTITIES]
        cells = [
            result["input"],
            f"{result['num_inputs']:,}",
            str(result["channels"]),
            result["contestant"],
            *map(milliseconds, times),
            *("-" if p is None else f"{p / 2**20:,.0f}" for p in peaks),
            ", ".join(rounds),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def draw(results, file):
    """Time and memory against M, a row for each kind of input."""
    kinds = list(dict.fromkeys(r["kind"] for r in results))
    names = [n for n in CONTESTANTS if any(r["contestant"] == n for r in results)]
    # What does not depend on the inputs would only be a level line.
    names = [name for name in names if name not in ("matmul", "mlp")]
    columns = [
        ("median_seconds", "forward", "forward, s", 1.0),
        ("median_seconds", "training", "forward + backward, s", 1.0),
        ("peak_bytes", "forward", "peak of forward, MiB", 2.0**-20),
        ("peak_bytes", "training", "peak of both, MiB", 2.0**-20),
    ]
    columns = [
        (group, quantity, *rest)
        for group, quantity, *rest in columns
        if any(r[group].get(quantity) for r in results)
    ]
    size = (4 * len(columns) + 1, 3.6 * len(kinds) + 1)
    figure, panels = plt.subplots(len(kinds), len(columns), figsize=size, squeeze=False)
    colors = plt.get_cmap("tab10").colors
    for row, kind in zip(panels, kinds, strict=True):
        for panel, (group, quantity, title, unit) in zip(row, columns, strict=True):
            for name in names:
                points = [
                    (r["num_inputs"], unit * r[group][quantity])
                    for r in results
                    if (r["kind"], r["contestant"]) == (kind, name)
                    and r[group].get(quantity)
                ]
                if points:
                    base = name.removesuffix("-xla")
                    bases = list(dict.fromkeys(n.removesuffix("-xla") for n in names))
                    panel.plot(
                        *zip(*points, strict=True),
                        label=name,
                        marker="o",
                        markersize=3,
                        color=colors[bases.index(base)],
                        linestyle="-" if name == base else "--",
                    )
            panel.set(title=f"{kind}: {title}", xlabel="inputs M")
            panel.set(xscale="log", yscale="log")
            panel.grid(alpha=0.3)
    lines = {}
    for panel in panels.flat:
        handles, labels = panel.get_legend_handles_labels()
        lines |= dict(zip(labels, handles, strict=True))
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4)
    figure.set_layout_engine("constrained")
    figure.savefig(file, dpi=110)
    plt.close(figure)
