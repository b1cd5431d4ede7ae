"""What a model attends to, as arrays and as pictures."""

import functools
import math
from typing import NamedTuple

import numpy as np
from keras import ops

from keras_perceiver.attention import record_attention
from keras_perceiver.inputs.audio import AudioInput, SpectrogramInput
from keras_perceiver.inputs.image import (
    ConvImageInput,
    ImageInput,
    PermutedImageInput,
)
from keras_perceiver.inputs.points import PointsInput
from keras_perceiver.inputs.video import VideoInput

# How many maps of one example stand side by side, and how many of its frames.
MOST_PANELS, MOST_FRAMES = 12, 8
LATENTS_PER_CROSS_ATTEND = 3
COLOURS = "magma"


def attention_maps(model, inputs):
    """The attention weights of each cross-attend of a model.

    Args:
        model: a model of this package, or any that holds its cross-attends.
        inputs: what the model takes; a few examples, since each map is kept.

    Returns:
        List with one float array `(B, H, N, M)` for each cross-attend, in the order
        of the calls; decoders are left out. Rows sum to 1, or to 0 where all is masked.

    Raises:
        ValueError: where the model recorded no cross-attend.
    """
    with record_attention() as records:
        model(inputs, training=False)
    maps = [record.weights for record in records if record.kind == "cross_attention"]
    if not maps:
        raise ValueError(
            "`model` must hold cross-attends of this package, and run them eagerly. "
            f"Received: model={model!r}, which recorded none"
        )
    return [ops.convert_to_numpy(weights) for weights in maps]


def lay_out(adapter, inputs, values):
    """Puts a value for each input where that lies: on the image, along the wave.

    Args:
        adapter: adapter of `kp.inputs`, which has read the inputs.
        inputs: what the model takes.
        values: array `(..., M)`, such as maps of `attention_maps`.

    Returns:
        Dict from the name of each modality to an array `(..., n_1, ..., n_d)`: the
        pixels of an image, row by row; the patches of a video; the segments of a
        wave; the points of a cloud; the bytes of a text.
    """
    found, start = {}, 0
    for name, own in adapter.modalities().items():
        shape = _raw(inputs, name).shape[1:]
        size = math.prod(own.content_shape_of(shape)[:-1])
        part = np.asarray(values)[..., start : start + size]
        # Permuted pixels may lie in no grid until they are in their places.
        found[name] = own.lay_out(part, tuple(shape))
        start += size
    return found


def plot_attention(adapter, inputs, maps):
    """Draws examples beside the attention of each cross-attend to their inputs.

    For each cross-attend the mean over heads and latents is shown and, where there is
    room, the latents whose maps differ most from that mean over all examples: those
    that look somewhere. Colours of a map begin at 0, and end at its highest value.

    Args:
        adapter: adapter of `kp.inputs`, which has read the inputs.
        inputs: what the model takes.
        maps: list of arrays `(B, H, N, M)`, what `attention_maps` returns for them.

    Returns:
        Dict from the name of each modality to a `matplotlib.figure.Figure`: images,
        videos, waves, spectrograms and clouds of points. Others, as texts, have none.
    """
    latents = [np.asarray(weights, np.float32).mean(axis=1) for weights in maps]
    laid_out = [lay_out(adapter, inputs, weights) for weights in latents]
    modalities = adapter.modalities()
    figures = {}
    for name, own in modalities.items():
        panels = []
        for i, weights in enumerate(laid_out, start=1):
            title = f"cross-attend {i}"
            if len(modalities) > 1:
                total = sum(part.sum() for part in laid_out[i - 1].values())
                title += f" ({weights[name].sum() / max(total, 1e-12):.0%})"
            panels += _panels(title, weights[name], len(maps))
        mask = inputs.get(own.mask_name) if isinstance(inputs, dict) else None
        drawing = _plot(own, np.asarray(_raw(inputs, name)), mask, panels)
        if drawing is not None:
            figures[name] = drawing
    return figures


class _Panel(NamedTuple):
    """A map to show of each example, float array `(B, n_1, ..., n_d)`."""

    title: str
    weights: np.ndarray
    is_mean: bool


def _panels(title, weights, num_cross_attends):
    """The mean of maps `(B, N, n_1, ..., n_d)` and, if there is room, some of them."""
    mean = weights.mean(axis=1)
    distance = np.abs(weights - mean[:, None])
    distance = distance.sum(axis=(0, *range(2, weights.ndim)))
    room = max(0, MOST_PANELS // num_cross_attends - 1)
    chosen = np.sort(np.argsort(-distance)[: min(room, LATENTS_PER_CROSS_ATTEND)])
    return [
        _Panel(f"{title}\nmean", mean, True),
        *(_Panel(f"{title}\nlatent {n}", weights[:, n], False) for n in chosen),
    ]


def _raw(inputs, name):
    return inputs[name] if isinstance(inputs, dict) else inputs


@functools.singledispatch
def _plot(adapter, raw, mask, panels):
    """A figure of raw examples and maps of their inputs; `None` for other kinds."""


@_plot.register(ImageInput)
@_plot.register(ConvImageInput)
@_plot.register(PermutedImageInput)
def _plot_images(adapter, raw, mask, panels):
    drawing, axes = _grid_of_axes(len(raw), 1 + len(panels), side=1.15)
    pictures = _within_0_and_1(raw)
    for row, picture in zip(axes, pictures, strict=True):
        row[0].imshow(picture, cmap="gray", vmin=0, vmax=1)
    return _draw_panels(drawing, axes, "image", panels)


@_plot.register(SpectrogramInput)
def _plot_spectrograms(adapter, raw, mask, panels):
    drawing, axes = _grid_of_axes(len(raw), 1 + len(panels), side=1.15, height=0.8)
    for row, spectrogram in zip(axes, raw, strict=True):
        # Time runs to the right, and frequency upwards.
        row[0].imshow(spectrogram.T, cmap="gray", origin="lower", aspect="auto")
    return _draw_panels(drawing, axes, "spectrogram", panels, is_sound=True)


def _draw_panels(drawing, axes, title, panels, is_sound=False):
    """Fills all columns of a figure but the first with maps that are pictures."""
    axes[0, 0].set_title(title, fontsize=7)
    for column, panel in enumerate(panels, start=1):
        axes[0, column].set_title(panel.title, fontsize=7)
        for axis, weights in zip(axes[:, column], panel.weights, strict=True):
            if is_sound:
                shape = {"origin": "lower", "aspect": "auto"}
                axis.imshow(weights.T, cmap=COLOURS, vmin=0, **shape)
            else:
                axis.imshow(weights, cmap=COLOURS, vmin=0)
    return drawing


@_plot.register(VideoInput)
def _plot_videos(adapter, raw, mask, panels):
    panels = [panel for panel in panels if panel.is_mean]
    num_frames = raw.shape[1]
    shown = np.linspace(0, num_frames - 1, min(num_frames, MOST_FRAMES)).astype(int)
    rows_per_video = 1 + len(panels)
    drawing, axes = _grid_of_axes(len(raw) * rows_per_video, len(shown), side=1.15)
    pictures = _within_0_and_1(raw)
    for i, video in enumerate(pictures):
        rows = axes[i * rows_per_video :]
        for column, frame in enumerate(shown):
            rows[0, column].imshow(video[frame], cmap="gray", vmin=0, vmax=1)
            rows[0, column].set_title(f"frame {frame + 1}", fontsize=7)
        for row, panel in zip(rows[1:], panels, strict=False):
            weights = panel.weights[i]
            # All frames of a row share their colours.
            for column, frame in enumerate(shown):
                own = weights[frame * len(weights) // num_frames]
                row[column].imshow(own, cmap=COLOURS, vmin=0, vmax=weights.max())
            _name_row(row[0], panel.title)
    return drawing


@_plot.register(AudioInput)
def _plot_waves(adapter, raw, mask, panels):
    drawing, axes = _grid_of_axes(2 * len(raw), 1, side=8, height=1.0)
    extent = (0, raw.shape[1], len(panels), 0)
    for i, wave in enumerate(raw):
        top, below = axes[2 * i, 0], axes[2 * i + 1, 0]
        top.plot(wave, color="black", linewidth=0.4)
        top.set_xlim(0, raw.shape[1])
        strips = np.stack([panel.weights[i] for panel in panels])
        # Each strip has colours of its own.
        strips = strips / np.maximum(strips.max(axis=1, keepdims=True), 1e-12)
        below.imshow(
            strips, cmap=COLOURS, vmin=0, aspect="auto", extent=extent, resample=False
        )
        below.set_axis_on()
        names = [panel.title.replace("\n", ", ") for panel in panels]
        below.set_yticks(np.arange(len(panels)) + 0.5, names, fontsize=5)
        below.set_xticks([])
    return drawing


@_plot.register(PointsInput)
def _plot_points(adapter, raw, mask, panels):
    if adapter.num_coordinates not in (2, 3):
        return None
    projection = "3d" if adapter.num_coordinates == 3 else None
    drawing, axes = _grid_of_axes(
        len(raw), len(panels), side=1.5, projection=projection
    )
    for column, panel in enumerate(panels):
        axes[0, column].set_title(panel.title, fontsize=7)
        for i, axis in enumerate(axes[:, column]):
            there = slice(None) if mask is None else np.asarray(mask[i], bool)
            places = raw[i, there, : adapter.num_coordinates].T
            colours = panel.weights[i, there]
            axis.scatter(*places, c=colours, cmap=COLOURS, vmin=0, s=4)
            axis.set_aspect("equal")
    return drawing


def _grid_of_axes(rows, columns, side, height=None, projection=None):
    """A figure, and its axes `(rows, columns)`, each of so many inches, without ticks.

    Not of `pyplot`, which would keep it, and perhaps look for a screen.
    """
    from matplotlib import figure

    size = (side * columns, (height or side) * rows + 0.4)
    drawing = figure.Figure(figsize=size, layout="constrained")
    drawing.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    axes = drawing.subplots(
        rows, columns, squeeze=False, subplot_kw={"projection": projection}
    )
    for axis in axes.flat:
        axis.set_axis_off()
    return drawing, axes


def _name_row(axis, name):
    """Writes a name beside a picture whose axes are off."""
    axis.text(
        -0.05,
        0.5,
        name,
        transform=axis.transAxes,
        ha="right",
        va="center",
        fontsize=6,
    )


def _within_0_and_1(pictures):
    """Pictures `(..., channels)` for `imshow`: of 3 channels, or none if not of 3."""
    low, high = pictures.min(), pictures.max()
    pictures = (pictures - low) / max(high - low, 1e-12)
    return pictures if pictures.shape[-1] == 3 else pictures[..., 0]
