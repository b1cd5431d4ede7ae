"""What is read: inputs of several kinds and sizes, and the weights that read them."""

import dataclasses
import functools
import math

import keras
import numpy as np

import keras_perceiver as kp
from keras_perceiver.streaming import CHUNK_BYTES


@dataclasses.dataclass(frozen=True)
class Case:
    """Inputs of one size.

    Attributes:
        kind: `"image"`, `"audio"` or `"video"`.
        grid: tuple of d sizes, of which M is the product.
        content_channels: int, c.
    """

    kind: str
    grid: tuple
    content_channels: int

    @property
    def name(self):
        return f"{self.kind} {' x '.join(f'{size:,}' for size in self.grid)}"

    @property
    def num_inputs(self):
        return math.prod(self.grid)


CASES = [
    *(Case("image", (size, size), 3) for size in (32, 64, 128, 224, 512, 1024)),
    # Patches of 16 samples, which are the channels of one input.
    *(Case("audio", (size,), 16) for size in (2_048, 16_384, 131_072)),
    *(
        Case("video", grid, 3)
        for grid in ((4, 64, 64), (8, 112, 112), (16, 224, 224), (32, 224, 224))
    ),
]
REFERENCE = Case("image", (224, 224), 3)
QUICK = (
    *(Case("image", (32, 32), 3), Case("image", (128, 128), 3), REFERENCE),
    *(Case("audio", (16_384,), 16), Case("video", (8, 112, 112), 3)),
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is the same for all inputs.

    Attributes:
        latents: int, N.
        latent_dim: int, D.
        bands: int, bands of the positions.
        chunk_bytes: int, of our layer.
    """

    latents: int = 512
    latent_dim: int = 1024
    bands: int = 64
    chunk_bytes: int = CHUNK_BYTES


@dataclasses.dataclass(frozen=True)
class Task:
    """One cross-attention, from which every implementation is built.

    Attributes:
        case, setting: `Case` and `Setting`.
        positions: `kp.FourierPositions` of the grid.
        content: float32 array `(1, n_1, ..., n_d, c)`.
        latents: float32 array `(1, N, D)`.
        upstream: float32 array `(1, N, D)`, the gradient of the output.
        weights: dict path in our layer -> float32 array.
    """

    case: Case
    setting: Setting
    positions: kp.FourierPositions
    content: np.ndarray
    latents: np.ndarray
    upstream: np.ndarray
    weights: dict

    @property
    def channels(self):
        """C, the channels of content and positions."""
        return channels_of(self.case, self.setting)

    @functools.cached_property
    def byte_array(self):
        """Content and positions, `(1, M, C)`: what the other packages read."""
        case, width = self.case, self.case.content_channels
        array = np.empty((*case.grid, self.channels), "float32")
        array[..., :width] = self.content[0]
        tables = self.positions.axis_tables(case.grid)
        places = self.positions.axis_channels(len(case.grid))
        for axis, (table, channels) in enumerate(zip(tables, places, strict=True)):
            shape = [1] * len(case.grid) + [table.shape[-1]]
            shape[axis] = case.grid[axis]
            table = keras.ops.convert_to_numpy(table).reshape(shape)
            array[..., [width + channel for channel in channels]] = table
        return array.reshape(1, case.num_inputs, self.channels)


def positions_of(case, setting):
    return kp.FourierPositions(setting.bands, max_resolution=case.grid)


def channels_of(case, setting):
    return case.content_channels + positions_of(case, setting).channels(case.grid)


def make_task(case, setting):
    """The same numbers for every implementation, in any process."""
    rng = np.random.default_rng(0)
    width, channels = setting.latent_dim, channels_of(case, setting)
    normal = functools.partial(rng.standard_normal, dtype="float32")

    def kernel(rows, columns):
        return normal((rows, columns)) / np.float32(math.sqrt(rows))

    weights = {
        "attention.query.kernel": kernel(width, channels),
        "attention.key.kernel": kernel(channels, channels),
        "attention.value.kernel": kernel(channels, channels),
        "attention.attention_output.kernel": kernel(channels, width),
        "attention.attention_output.bias": normal(width),
    }
    # perceiver-pytorch has no other biases, so that they are left at zero.
    for name in ("query", "key", "value"):
        weights[f"attention.{name}.bias"] = np.zeros(channels, "float32")
    for name, size in (("query_norm", width), ("inputs_norm", channels)):
        weights[f"{name}.gamma"] = 1 + np.float32(0.1) * normal(size)
        weights[f"{name}.beta"] = np.float32(0.1) * normal(size)
    return Task(
        case=case,
        setting=setting,
        positions=positions_of(case, setting),
        content=rng.uniform(-1, 1, (1, *case.grid, case.content_channels)).astype(
            "float32"
        ),
        latents=normal((1, setting.latents, width)),
        upstream=normal((1, setting.latents, width)),
        weights=weights,
    )
