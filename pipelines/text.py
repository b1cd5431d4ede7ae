"""The recipe of texts: from a source of texts to batches of bytes."""

import dataclasses
import os
from typing import ClassVar

import numpy as np
import tensorflow as tf

from pipelines.checks import check_integer, check_range
from pipelines.errors import read_first
from pipelines.recipe import Recipe
from pipelines.text_ops import crop, cut, mask_bytes, pad, to_ids, to_ids_or_problem

# By default as long as all but the longest texts, within these bounds; Perceiver IO's
# language model reads 2,048 bytes; two processor cores can learn from half of that.
PERCENTILE = 95
SHORTEST, LONGEST = 16, 1024
# How many texts a recipe looks at to find its length.
NUM_LOOKED_AT = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextRecipe(Recipe):
    """Texts as bytes, int32 ids `(length,)`: byte + 6, and 0 after the end.

    The vocabulary is that of Perceiver IO's language model, of 262 ids. Whether the
    bytes are UTF-8 does not matter. Longer texts are cut off: in evaluation their
    beginning is kept, in training a piece from anywhere.

    Args:
        length: int, how many bytes the model takes.

    Raises:
        ValueError: if an argument is out of its range.
    """

    modality: ClassVar[str] = "text"
    inputs: ClassVar[str] = "text"
    graph_files: ClassVar[str] = "texts of a byte or more"

    length: int

    def __post_init__(self):
        super().__post_init__()
        check_integer("length", self.length, 1)

    @classmethod
    def from_source(cls, source, skip_unreadable=False, **given):
        """A recipe whose length is found from the first texts, where it is not given.

        Args:
            source: `Source` of texts.
            skip_unreadable: bool, whether those that cannot be read are passed over.
            **given: values of fields. By default `length` is such that 95 of 100
                texts fit, rounded up to a multiple of 16, but at most 1,024.

        Raises:
            ValueError: if a value is out of its range, or one of these texts cannot
                be read.
        """
        given = {name: value for name, value in given.items() if value is not None}
        if "length" not in given:
            length = np.percentile(_look_at(source, skip_unreadable), PERCENTILE)
            rounded = SHORTEST * int(np.ceil(length / SHORTEST))
            given["length"] = min(rounded, LONGEST)
        return cls(**given)

    def training_ops(self, cache=False, *, crop_fraction=1.0, mask_rate=0.0):
        """See `Recipe.training_ops`.

        Args:
            cache: bool, whether the texts will be kept in memory.
            crop_fraction: float in (0, 1], the smallest part of a text that a random
                piece of it has; 1 for whole texts, as far as `length` allows.
            mask_rate: float in [0, 1), the part of the bytes hidden at random.
        """
        check_range(0, 1, mask_rate=mask_rate)
        if crop_fraction != 1:
            check_range(0, 1, crop_fraction=crop_fraction)
        return [to_ids()], [
            crop(self.length, crop_fraction),
            *([mask_bytes(mask_rate)] if mask_rate else []),
            pad(self.length),
        ]

    def evaluation_ops(self):
        return [to_ids(), *self._fit_ops()]

    def graph_ops(self):
        return [to_ids_or_problem(), *self._fit_ops()]

    def graph_file(self):
        return b"a"

    def _fit_ops(self):
        return [cut(self.length), pad(self.length)]

    def example(self, item):
        """The example of a text, str or bytes."""
        if not isinstance(item, str | bytes):
            raise ValueError(
                "`items` must be texts (str or bytes), or paths (`pathlib.Path`). "
                f"Received: {item!r}"
            )
        if not item:
            raise ValueError("`items` must hold texts of a byte or more. Received: ''")
        return {"text": tf.constant(item)}

    def describe(self):
        return f"texts of up to {self.length:,} bytes"

    @staticmethod
    def _is_path(item):
        # Here a string is a text.
        return isinstance(item, os.PathLike)


def _look_at(source, skip_unreadable):
    """The lengths of the first texts of a source, in bytes."""
    read = to_ids()
    return read_first(
        source,
        lambda example: tf.size(read(example)["text"]),
        "text",
        count=NUM_LOOKED_AT,
        skip_unreadable=skip_unreadable,
    )
