"""Labelled data sets by name: `builtin:`, `folder:`, `tfds:`, or arrays."""

from pipelines.sources.arrays import source_from_arrays
from pipelines.sources.load import load_source
from pipelines.sources.source import SPLITS, Source, without

__all__ = ["SPLITS", "Source", "load_source", "source_from_arrays", "without"]
