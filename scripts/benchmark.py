"""Measures the package beside other implementations, in one run.

    python scripts/benchmark.py cross_attention --json FILE
    python scripts/benchmark.py models --json FILE
    python scripts/benchmark.py train_step --json FILE
    python scripts/benchmark.py pipelines --json FILE
    python scripts/benchmark.py serving --json FILE

`cross_attention` is one read of inputs of many kinds and sizes, `models` are whole
models, and `train_step` is a training step of the presets with its peak memory. All
implementations compute one function with the same weights, which is checked first. They
take turns, round by round, and medians of the rounds are compared. PyTorch,
transformers and perceiver-pytorch are measured where they are installed.

`pipelines` is what `tf.data` makes of files of each modality, beside what the model of
its config takes, and our decoding of images beside that of Keras.

`serving` is a model as it answers requests: called, under `predict`, as a SavedModel,
and in ONNX Runtime, LiteRT and OpenVINO where they are installed.

FILE receives all numbers; a table (.md) stands beside it.
"""

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from benchmarks.cross_attention import command as cross_attention
from benchmarks.models import command as models
from benchmarks.pipelines import command as pipelines
from benchmarks.serving import command as serving
from benchmarks.train_step import command as train_step


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (cross_attention, models, train_step, pipelines, serving):
        command.add_to(commands)
    args = parser.parse_args(argv)
    # It would warn that each contestant is traced anew.
    tf.get_logger().setLevel("ERROR")
    for gpu in tf.config.list_physical_devices("GPU"):
        # TensorFlow would take all of it, and leave nothing to the others.
        tf.config.experimental.set_memory_growth(gpu, True)
    try:
        args.run(args)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
