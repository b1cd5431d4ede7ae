"""Which models are run, by whom, and what is aimed at."""

import dataclasses
import functools
from collections.abc import Callable

from benchmarks.contestants import Contestant
from benchmarks.models.contestants import (
    make_hugging_face,
    make_ours,
    make_products,
    make_sdpa_block,
    make_sdpa_encoder,
    make_torch_products,
)
from benchmarks.models.task import EncoderTask, LatentBlockTask


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Two times to compare, and the aim.

    Attributes:
        contestant: name of the one whose time is divided.
        others: tuple of names; the fastest of them is the divisor.
        at_least, at_most: the aim, a float; one of them, or none.
    """

    contestant: str
    others: tuple
    at_least: float | None = None
    at_most: float | None = None


@dataclasses.dataclass(frozen=True)
class Model:
    """A model, those who run it, and the ratios that its times are judged by.

    Attributes:
        name: string, for people.
        make_task: function of a `Setting` to a task.
        contestants: dict name -> `Contestant`; the output of the first is that which
            the others are compared with.
        ratios: list of `Ratio`.
    """

    name: str
    make_task: Callable
    contestants: dict
    ratios: list


OURS = {
    name: Contestant(functools.partial(make_ours, jit_compile=jit_compile))
    for name, jit_compile in (("ours", False), ("ours-xla", True))
}
PRODUCTS = {
    "products": Contestant(
        functools.partial(make_products, jit_compile=False), is_reference=True
    ),
    "products-xla": Contestant(
        functools.partial(make_products, jit_compile=True), is_reference=True
    ),
    "products-torch": Contestant(make_torch_products, "torch", is_reference=True),
}
MODELS = {
    "perceiver": Model(
        "Perceiver, ImageNet",
        # It reads the image before each latent block.
        lambda setting: EncoderTask(
            setting, cross_attends=setting.iterations, approximate_gelu=True
        ),
        OURS | {"torch-sdpa": Contestant(make_sdpa_encoder, "torch")},
        [Ratio("torch-sdpa", (name,), at_least=1.7) for name in OURS],
    ),
    "perceiver-io": Model(
        "Perceiver IO, ImageNet, Fourier features, encoder",
        # Hugging Face's GELU is the exact one.
        lambda setting: EncoderTask(setting, cross_attends=1, approximate_gelu=False),
        OURS
        | {
            "torch-sdpa": Contestant(make_sdpa_encoder, "torch"),
            "hugging-face": Contestant(make_hugging_face, "transformers"),
        },
        [
            *(Ratio("hugging-face", (name,), at_least=1.15) for name in OURS),
            *(Ratio("torch-sdpa", (name,)) for name in OURS),
        ],
    ),
    "latent-block": Model(
        "Latent block",
        LatentBlockTask,
        OURS | {"torch-sdpa": Contestant(make_sdpa_block, "torch")} | PRODUCTS,
        [
            *(Ratio(name, tuple(PRODUCTS), at_most=1.2) for name in OURS),
            Ratio("ours", ("products",)),
            Ratio("torch-sdpa", tuple(PRODUCTS)),
        ],
    ),
}
