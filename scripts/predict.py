"""Says what a trained model takes files to be.

    python scripts/predict.py --model=DIR FILE...

DIR is the folder of a run. With `--json`, one JSON object a line and file. A file that
cannot be read is reported, the others go on, and the exit status is 1.
"""

import json
import pathlib
import sys

import numpy as np

from trained import Parser, load_trained, probabilities, run

BATCH_SIZE = 32


def main(arguments=None):
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, metavar="DIR")
    parser.add_argument("--top", type=int, default=3, help="how many classes to print")
    parser.add_argument("--json", action="store_true", help="one JSON object a file")
    parser.add_argument("files", nargs="+", metavar="FILE")
    flags = parser.parse_args(arguments)
    if flags.top < 1:
        parser.error(f"`--top` must be at least 1. Received: --top={flags.top}")

    trained = load_trained(flags.model)
    num_clips = trained.recipe.num_eval_clips
    batch_size = max(1, BATCH_SIZE // num_clips)
    failures = 0
    for start in range(0, len(flags.files), batch_size):
        files, inputs = [], []
        for file in flags.files[start : start + batch_size]:
            try:
                inputs.append(trained.recipe.preprocess([pathlib.Path(file)]))
                files.append(file)
            except ValueError as error:
                failures += 1
                print(f"error: {error}", file=sys.stderr)
        if files:
            rows = probabilities(trained.model, _concatenate(inputs), num_clips)
            for file, row in zip(files, rows, strict=True):
                _print(file, row, trained.classes, flags)
    return 1 if failures else 0


def _concatenate(batches):
    if not isinstance(batches[0], dict):
        return np.concatenate(batches)
    return {
        key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]
    }


def _print(file, row, classes, flags):
    best = np.argsort(-row, kind="stable")[: flags.top]
    top = [(classes[i], float(row[i])) for i in best]
    if flags.json:
        ranked = [{"class": name, "probability": value} for name, value in top]
        print(json.dumps({"file": file, "top": ranked}))
    else:
        print(f"{file}: " + ", ".join(f"{name} {value:.3f}" for name, value in top))


if __name__ == "__main__":
    run(main)
