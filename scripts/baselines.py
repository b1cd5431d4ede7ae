"""Measures what classical methods reach on the tasks of the results.

    python scripts/baselines.py --task=digits

A task is a config of a built-in data set. Every method learns from what is not in the
test, as the Perceiver does, and is scored on the very same test items. The strength of
the regularization of logistic regression is chosen on the validation part.
"""

import importlib
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

import run_data
from command_line import Parser, run
from pipelines.audio import AudioRecipe
from pipelines.sources import SPLITS

NUM_TREES = 200
REGULARIZATION = (0.01, 0.1)  # C, the lower the stronger.
MOST_ITERATIONS = 100
NUM_PAIRS = 2000  # Of points of a cloud.
NUM_RAW_POINTS = 256  # A forest of more takes minutes and knows no more.


class Baseline(NamedTuple):
    """A method and what it reads.

    Attributes:
        name: str.
        features: function from the columns of a split to an array (n, f) or a list.
        estimator: function from the division into training and validation, which
            `sklearn.model_selection` takes as `cv`, to an estimator.
    """

    name: str
    features: Callable
    estimator: Callable


# === What is read ===


def pixels(columns):
    return _flat(columns["image"] / np.float32(255))


def frames(columns):
    return _flat(columns["video"] / np.float32(255))


def one_frame(columns):
    return _flat(columns["video"][:, 0] / np.float32(255))


def mean_frame(columns):
    return _flat(columns["video"].mean(axis=1, dtype=np.float32) / 255)


def wave(columns):
    return columns["audio"]


def log_mel(columns):
    return _flat(columns["log_mel"])


def mean_frame_and_log_mel(columns):
    return np.concatenate([mean_frame(columns), log_mel(columns)], axis=1)


def coordinates(columns):
    return _flat(columns["points"][:, :NUM_RAW_POINTS])


def invariants(columns):
    """What no rotation changes: proportions, and how often which distances occur."""
    pairs = np.random.RandomState(0).randint(
        columns["points"].shape[1], size=(2, NUM_PAIRS)
    )
    return np.stack([_invariants_of(cloud, pairs) for cloud in columns["points"]])


def _invariants_of(cloud, pairs):
    cloud = cloud - cloud.mean(axis=0)
    spreads = np.sqrt(np.linalg.eigvalsh(cloud.T @ cloud / len(cloud)))
    cloud = cloud / spreads[-1]
    from_center = np.linalg.norm(cloud, axis=1)
    apart = np.linalg.norm(cloud[pairs[0]] - cloud[pairs[1]], axis=1)
    return np.concatenate(
        [
            spreads[:2] / spreads[-1],
            np.histogram(from_center, 20, (0, 2.5))[0] / len(cloud),
            np.histogram(apart, 20, (0, 4))[0] / len(apart),
        ]
    )


def texts(columns):
    return [text.decode() for text in columns["text"]]


def byte_histogram(columns):
    return np.stack(
        [
            np.bincount(np.frombuffer(text, np.uint8), minlength=256) / len(text)
            for text in columns["text"]
        ]
    )


def _flat(array):
    return array.reshape(len(array), -1)


# === Methods ===


def logistic_regression(division):
    return GridSearchCV(
        LogisticRegression(max_iter=MOST_ITERATIONS),
        {"C": REGULARIZATION},
        cv=division,
    )


def regression_of_n_grams(division):
    # Of so many features that are rarely there hardly any regularization is best.
    return make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True),
        GridSearchCV(
            LogisticRegression(max_iter=MOST_ITERATIONS),
            {"C": (10.0, 100.0)},
            cv=division,
        ),
    )


def nearest_neighbour(division):
    return KNeighborsClassifier(1)


def random_forest(division):
    return RandomForestClassifier(NUM_TREES, n_jobs=-1, random_state=0)


def _each(methods, features, what):
    names = {
        logistic_regression: "logistic regression",
        nearest_neighbour: "nearest neighbour",
        random_forest: "random forest",
    }
    return [Baseline(f"{names[m]} on {what}", features, m) for m in methods]


# === Tasks ===

_ALL = (logistic_regression, nearest_neighbour, random_forest)
# None of them knows which pixels are neighbours, so the order of pixels is nothing to
# them.
_PICTURES = _each(_ALL, pixels, "pixels")
_SPEECH = [
    *_each(_ALL, log_mel, "log-mel spectrograms"),
    *_each((nearest_neighbour,), wave, "raw waves"),
]
# A picture trembles over few pixels: the mean of its frames has it whole.
_SEEN = _each((logistic_regression, random_forest), mean_frame, "the mean frame")
_HEARD = _each(
    (logistic_regression, random_forest), log_mel, "log-mel spectrograms of the sound"
)
_SEEN_AND_HEARD = _each(
    (logistic_regression, random_forest),
    mean_frame_and_log_mel,
    "the mean frame and log-mel spectrograms",
)
BASELINES = {
    "digits": _PICTURES,
    "permuted_digits": _PICTURES,
    "moving_digits": [
        *_each(_ALL, frames, "raw frames"),
        *_each((random_forest,), one_frame, "one frame"),
    ],
    "spoken_digits_mel": _SPEECH,
    "spoken_digits_raw": _SPEECH,
    "seen_digits": _SEEN,
    "heard_digits": _HEARD,
    "seen_and_heard_digits": [*_SEEN, *_HEARD, *_SEEN_AND_HEARD],
    "solids": [
        *_each((random_forest,), invariants, "invariants of rotation"),
        *_each((random_forest,), coordinates, "raw points"),
    ],
    "languages": [
        Baseline(
            "logistic regression on n-grams of 1 to 3 characters",
            texts,
            regression_of_n_grams,
        ),
        *_each((random_forest,), byte_histogram, "byte histograms"),
    ],
}


def read(task):
    """The data of a task, as it is before any recipe but that of spectrograms.

    Args:
        task: str, a key of `BASELINES`.

    Returns:
        Dict from the names of the splits to pairs: a dict of columns, each an array or
        a list, and the labels, int array (n,).
    """
    config = importlib.import_module(f"configs.{task}").get_config()
    sources = run_data.load_sources(config)
    data = {split: _columns(source) for split, source in sources.items()}
    if "audio" in data["train"][0]:
        recipe = AudioRecipe.from_source(sources["train"], representation="mel")
        for split, source in sources.items():
            batches = recipe.eval_dataset(source, batch_size=256)
            mels = [inputs for inputs, _ in batches.as_numpy_iterator()]
            data[split][0]["log_mel"] = np.concatenate(mels)
    return data


def _columns(source):
    (batch,) = source.dataset.batch(source.num_items).as_numpy_iterator()
    labels = batch.pop("label")
    return batch, labels


def measure(task, data=None):
    """Trains and scores the baselines of a task.

    Args:
        task: str, a key of `BASELINES`.
        data: what `read(task)` gives, where it is there already.

    Yields:
        Triples: the name of a baseline, its accuracy on the test, and its seconds.
    """
    data = data or read(task)
    (train, own), (validation, held_out), (test, labels) = (data[s] for s in SPLITS)
    known = {key: np.concatenate([train[key], validation[key]]) for key in train}
    known_labels = np.concatenate([own, held_out])
    division = PredefinedSplit([-1] * len(own) + [0] * len(held_out))
    for name, features, estimator in BASELINES[task]:
        start = time.perf_counter()
        with warnings.catch_warnings():
            # That of logistic regression ends where it hardly changes any more.
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = estimator(division).fit(features(known), known_labels)
        accuracy = fitted.score(features(test), labels)
        yield name, float(accuracy), time.perf_counter() - start


def main(arguments=None):
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", required=True, choices=list(BASELINES))
    flags = parser.parse_args(arguments)
    data = read(flags.task)
    counts = ", ".join(f"{len(labels):,} {s}" for s, (_, labels) in data.items())
    print(f"{flags.task}: {counts}")
    print("accuracy  seconds  baseline")
    for name, accuracy, seconds in measure(flags.task, data):
        print(f"{accuracy:8.4f}  {seconds:7.1f}  {name}", flush=True)
    return 0


if __name__ == "__main__":
    run(main)
