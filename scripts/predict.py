"""Says what a trained model takes files to be.

    python scripts/predict.py --model=DIR FILE...

DIR is the folder of a run. The `--top` most probable classes are printed, 3 of them,
or 5 and all above `--threshold` if the model is multi-label, where each class has a
probability of its own. With `--json`, one JSON object a line and file. A file that
cannot be read is reported, the others go on, and the exit status is 1.
"""

import json
import pathlib
import sys

import numpy as np

from command_line import Parser, run
from trained import load_trained, probabilities

BATCH_SIZE = 32


def main(arguments=None):
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, metavar="DIR")
    parser.add_argument("--top", type=int, help="how many classes to print at least")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        help="of a multi-label model, print all classes above this probability",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a file")
    parser.add_argument("files", nargs="+", metavar="FILE")
    flags = parser.parse_args(arguments)
    if flags.top is not None and flags.top < 1:
        parser.error(f"`--top` must be at least 1. Received: --top={flags.top}")
    if not 0 <= flags.threshold <= 1:
        parser.error(
            "`--threshold` must be a number in [0, 1]. "
            f"Received: --threshold={flags.threshold}"
        )

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
                _print(file, _top(row, trained, flags), flags)
    return 1 if failures else 0


def _concatenate(batches):
    if not isinstance(batches[0], dict):
        return np.concatenate(batches)
    return {
        key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]
    }


def _top(row, trained, flags):
    """Pairs of the most probable classes and their probabilities, highest first."""
    multi_label = trained.model.multi_label
    count = flags.top or (5 if multi_label else 3)
    if multi_label:
        count = max(count, int(np.sum(row > flags.threshold)))
    best = np.argsort(-row, kind="stable")[:count]
    return [(trained.classes[i], float(row[i])) for i in best]


def _print(file, top, flags):
    if flags.json:
        ranked = [{"class": name, "probability": value} for name, value in top]
        print(json.dumps({"file": file, "top": ranked}))
    else:
        print(f"{file}: " + ", ".join(f"{name} {value:.3f}" for name, value in top))


if __name__ == "__main__":
    run(main)
