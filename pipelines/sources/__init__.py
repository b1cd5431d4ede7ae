"""Labelled data: `builtin:`, `folder:`, `tfds:`, `tfrecord:`, or arrays."""

from pipelines.sources.arrays import source_from_arrays
from pipelines.sources.load import load_own_splits, load_source
from pipelines.sources.source import SPLITS, Source, part, without

__all__ = [
    "SPLITS",
    "Source",
    "load_own_splits",
    "load_source",
    "part",
    "source_from_arrays",
    "without",
]
