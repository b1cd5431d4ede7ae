"""Opens a file in this fresh process and answers once; prints seconds, in JSON.

Started by the subcommand `serving`, and not by `scripts/benchmark.py`, which imports
TensorFlow for all runtimes.
"""

import json
import sys
import time

import numpy as np
from opening import OPENING


def main(order):
    inputs = dict(np.load(order["inputs"]))
    opening = time.time()
    answer = OPENING[order["runtime"]](order["path"])
    opened = time.time()
    answer(inputs)
    answered = time.time()
    seconds = {
        "total": answered - order["started"],
        "open": opened - opening,
        "first_answer": answered - opened,
    }
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
