"""Prints what a model is and costs, before anything runs.

    python scripts/summary.py --config=scripts/configs/digits.py --config.KEY=VALUE ...
    python scripts/summary.py --preset=perceiver_imagenet

By part: parameters, FLOPs of the forward pass and of a training step, and bytes kept
for the backward pass; with keys and values as the papers count, and as this model
computes it. The model is not built. What is counted, and how: `keras_perceiver.flops`.

Sizes come from the data of a config. Without a source, the config must give them
(`--config.data.recipe.image_size=(224,224) --config.data.recipe.channels=3`), and
`--num_classes`.
"""

import dataclasses
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from absl import app, flags
from ml_collections import config_flags

import command_line
from adapters import build_adapter
from keras_perceiver import flops, presets
from pipelines.recipes import find_recipe
from pipelines.sources import load_source

FLAGS = flags.FLAGS
NO_SOURCE = "folder:PATH"


def main(argv):
    if argv[1:]:
        raise ValueError(f"Arguments must start with --. Received: {argv[1:]}")
    if (FLAGS.config is None) == (FLAGS.preset is None):
        raise ValueError(
            "Either `--config` or `--preset` must be given. "
            f"Received: --preset={FLAGS.preset}"
        )
    if FLAGS.preset is not None:
        summary, batch_size = of_preset(FLAGS.preset, FLAGS.num_classes), 1
    else:
        config = FLAGS.config
        summary, batch_size = of_config(config, FLAGS.num_classes), config.batch_size
    print(table(summary, FLAGS.batch_size or batch_size))


def of_preset(name, num_classes=None):
    """The `flops.Summary` of a preset."""
    presets.check_known(name)
    config = presets.backbone_config(name, load_weights=False)
    num_classes = num_classes or presets.PRESETS[name]["num_classes"]
    return flops.summarize(num_classes=num_classes, **config)


def of_config(config, num_classes=None):
    """The `flops.Summary` of the model that a config trains."""
    if config.data.source == NO_SOURCE:
        recipe = _recipe_without_data(config)
        if num_classes is None:
            raise ValueError(
                "The number of classes is unknown without data: give "
                "`--config.data.source`, or `--num_classes`. Received: "
                f"--config.data.source={config.data.source}"
            )
    else:
        source = load_source(
            config.data.source,
            "train",
            modality=config.modality,
            seed=config.seed,
            validation_fraction=config.data.validation_fraction,
            test_fraction=config.data.test_fraction,
        )
        skip = config.data.bad_files == "skip"
        recipe = find_recipe(config.modality).from_source(
            source, skip, **config.data.recipe
        )
        num_classes = num_classes or len(source.classes)
    with command_line.section("adapter"):
        adapter = build_adapter(recipe, config.adapter)
    with command_line.section("model"):
        return flops.summarize(adapter, num_classes, **config.model)


def _recipe_without_data(config):
    """The recipe of a config that gives all fields which have no default."""
    missing = []

    def recipe_of(modality, given, prefix=""):
        recipe = find_recipe(modality)
        given = {name: own for name, own in given.items() if own is not None}
        if modality == "audio_video":
            for name in ("audio", "video"):
                given[name] = recipe_of(name, given[name], f"{name}.")
        elif given.get("representation") == "mel":
            # Found from the data, and no sizes.
            given = {"mel_mean": 0.0, "mel_std": 1.0, **given}
        absent = [
            f"--config.data.recipe.{prefix}{field.name}"
            for field in dataclasses.fields(recipe)
            if field.default is dataclasses.MISSING and field.name not in given
        ]
        missing.extend(absent)
        return None if missing else recipe(**given)

    recipe = recipe_of(config.modality, config.data.recipe)
    if missing:
        raise ValueError(
            "Sizes are unknown without data: give `--config.data.source`, or "
            f"{missing}. Received: --config.data.source={config.data.source}"
        )
    return recipe


def table(summary, batch_size):
    """What `main` prints, a string."""
    headings = ["part", "parameters", *2 * ("forward", "step", "kept")]
    rows = [
        [
            f"{part.name} x {part.calls}" if part.calls > 1 else part.name,
            f"{part.parameters:,}",
            *_cells(part.projected),
            *_cells(part.ours),
        ]
        for part in (*summary.parts, summary.total._replace(calls=1))
    ]
    widths = [max(len(row[i]) for row in (headings, *rows)) for i in range(8)]

    def line(cells):
        padded = [cells[0].ljust(widths[0])]
        padded += [
            cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)
        ]
        return "  ".join(padded)

    total = summary.total
    start, span = sum(widths[:2]) + 4, sum(widths[2:5]) + 4
    above = " " * start + "as the papers count".center(span) + "  "
    above += f"as computed ({summary.method})".center(span)
    return "\n".join(
        [
            f"{summary.num_inputs:,} inputs of {summary.channels:,} channels, from "
            f"{_bytes(summary.input_bytes)} of input for each example.",
            "",
            above.rstrip(),
            line(headings),
            *map(line, rows),
            "",
            "Forward, step: FLOPs of one example, in the forward pass alone and with "
            "the backward pass;",
            "products of matrices alone, a multiplication and an addition being 2.",
            "Kept: bytes that one example keeps for the backward pass; a batch of "
            f"{batch_size:,} keeps {_bytes(batch_size * total.ours.kept)},",
            f"with keys and values {_bytes(batch_size * total.projected.kept)}.",
            f"Weights in float32: {_bytes(4 * total.parameters)}; with gradients and "
            f"two moments: {_bytes(16 * total.parameters)}.",
        ]
    )


def _cells(cost):
    return [_flops(cost.forward), _flops(cost.training), _bytes(cost.kept)]


def _flops(count):
    return _short(count, 1000, ("", " k", " M", " G", " T", " P"))


def _bytes(count):
    return _short(count, 1024, (" B", " KiB", " MiB", " GiB", " TiB", " PiB"))


def _short(count, base, units):
    power = 0
    while count >= 1000 * base**power and power < len(units) - 1:
        power += 1
    return f"{count / base**power:.4g}{units[power]}"


def parse_flags(argv):
    """As that of a run, which needs neither of its flags here."""
    # Not on import: `train.py` has a flag `config`, too.
    config_flags.DEFINE_config_file("config", None, "Config file with get_config().")
    flags.DEFINE_string("preset", None, "A preset, in place of a config.")
    flags.DEFINE_integer("num_classes", None, "Classes, where no data tells.")
    flags.DEFINE_integer("batch_size", None, "Defaults to the config's, or 1.")
    return command_line.parse_flags(argv, required=())


if __name__ == "__main__":
    app.run(command_line.sentences(main), flags_parser=parse_flags)
