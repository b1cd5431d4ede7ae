"""Pictures of what a model attends to and of how it learned."""

import numpy as np
from keras import ops

from keras_perceiver.attention import record_attention


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


def plot_attention_maps(model, images, path, latents_per_cross_attend=3):
    """Draws images beside the attention of each cross-attend over their pixels.

    For each cross-attend the mean over latents is shown, and the latents whose maps
    differ most from that mean over all the images: those that look somewhere.

    Args:
        model: a model that reads images, pixel by pixel, in whatever order.
        images: float array `(B, height, width, channels)`, as the model takes them.
        path: where to write the PNG.
        latents_per_cross_attend: int. How many latents to show for each.
    """
    from matplotlib import figure

    images = np.asarray(images)
    count, height, width, _ = images.shape
    columns, titles = [images], ["image"]
    adapter = getattr(getattr(model, "backbone", model), "adapter", None)
    order = getattr(adapter, "order", np.arange(height * width))
    pixels = np.argsort(order)  # The input that each pixel is.
    for i, weights in enumerate(attention_maps(model, images), start=1):
        maps = weights.mean(axis=1)[..., pixels].reshape(count, -1, height, width)
        mean = maps.mean(axis=1)
        distance = np.abs(maps - mean[:, None]).sum(axis=(0, 2, 3))
        chosen = np.sort(np.argsort(-distance)[:latents_per_cross_attend])
        columns.append(mean)
        titles.append(f"cross-attend {i}\nmean")
        for latent in chosen:
            columns.append(maps[:, latent])
            titles.append(f"cross-attend {i}\nlatent {latent}")
    drawing = figure.Figure(figsize=(1.15 * len(columns), 1.15 * count + 0.5))
    axes = drawing.subplots(count, len(columns), squeeze=False)
    for column, title in enumerate(titles):
        axes[0, column].set_title(title, fontsize=7)
        for row in range(count):
            axis = axes[row, column]
            axis.set_axis_off()
            picture = columns[column][row]
            if column == 0:
                low, high = images.min(), images.max()
                picture = (picture - low) / max(high - low, 1e-12)
                if picture.shape[-1] != 3:
                    picture = picture[..., 0]
                axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
            else:
                axis.imshow(picture, cmap="magma", vmin=0)
    drawing.tight_layout(pad=0.3)
    drawing.savefig(path, dpi=120)


def plot_learning_curves(history, path, metric="accuracy"):
    """Draws the loss and a metric over the epochs, for training and validation.

    Args:
        history: dict from the names that `keras.Model.fit` logs to lists with one
            value for each epoch.
        path: where to write the PNG.
        metric: str, such as `"accuracy"`.
    """
    from matplotlib import figure

    epochs = np.arange(1, len(history["loss"]) + 1)
    drawing = figure.Figure(figsize=(9, 3.5))
    for axis, name in zip(drawing.subplots(1, 2), ("loss", metric), strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in history:
                axis.plot(epochs, history[key], label=label)
        axis.set_xlabel("epoch")
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
        axis.legend()
    drawing.tight_layout()
    drawing.savefig(path, dpi=120)
