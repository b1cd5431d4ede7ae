"""Images that are in memory already."""

import numpy as np

from pipelines.sources.source import source_from_columns


def check_image_array(images, rank):
    """Checks an array of pixels and gives grey images their channel axis.

    Args:
        images: uint8 array of values 0..255, or float array of values in [0, 1].
        rank: int, the rank with the channel axis: 3 for one image, 4 for many.

    Returns:
        uint8 or float32 array of that rank.

    Raises:
        ValueError: if the type, the shape or the values are not those of images.
    """
    try:
        images = np.asarray(images)
    except ValueError:
        raise ValueError("`images` must all be of one shape.") from None
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            f"`images` must be uint8 or float. Received: dtype={images.dtype}"
        )
    if images.ndim == rank - 1:
        images = images[..., None]
    if images.ndim != rank or images.shape[-1] not in (1, 2, 3, 4) or not images.size:
        axes = "(N, H, W) or (N, H, W, c)" if rank == 4 else "(H, W) or (H, W, c)"
        raise ValueError(
            f"`images` must be of shape {axes} with 1 to 4 channels, none of them 0. "
            f"Received: shape={images.shape}"
        )
    if images.dtype == np.uint8:
        return images
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):  # Written so that NaN fails as well.
        raise ValueError(
            "Float `images` must lie in [0, 1]; pass pixels of 0..255 as uint8. "
            f"Received: values from {low} to {high}"
        )
    return images.astype(np.float32)


def source_from_arrays(images, labels, classes=None, *, name="arrays"):
    """Makes a source of images in memory.

    Args:
        images: array of shape (N, H, W) or (N, H, W, channels): uint8 of values
            0..255, or float of values in [0, 1].
        labels: integer array of shape (N,), values from 0; or of shape (N, E),
            integer or bool, 1 for each of several labels of an image and 0 else.
        classes: sequence of str, the name of each label; "0", "1", ... by default.
        name: str, what messages call this source.

    Returns:
        A `Source` of N items in the given order.

    Raises:
        ValueError: if the arrays are not images and their labels.
    """
    images = check_image_array(images, rank=4)
    labels = np.asarray(labels)
    multi_label = labels.ndim == 2
    if multi_label and labels.dtype == bool:
        labels = labels.astype(np.int32)
    shape = (len(images), *labels.shape[1:2])
    if labels.shape != shape or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"`labels` must be integers of shape ({len(images)},), one for each image, "
            f"or ({len(images)}, E), 0 or 1 for each class. "
            f"Received: shape={labels.shape}, dtype={labels.dtype}"
        )
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    num_classes = labels.shape[1] if multi_label else high + 1
    if classes is None:
        classes = [str(label) for label in range(num_classes)]
    if multi_label and len(classes) != num_classes:
        raise ValueError(
            f"`classes` must name the {num_classes} columns of `labels`. "
            f"Received: {len(classes)} names"
        )
    limit = 2 if multi_label else len(classes)
    if low < 0 or high >= limit:
        raise ValueError(
            f"`labels` must lie in [0, {limit}). Received: values from {low} to {high}"
        )
    return source_from_columns({"image": images}, labels, classes=classes, name=name)
