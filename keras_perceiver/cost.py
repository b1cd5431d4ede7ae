"""Which way to compute a cross-attention: a count of multiplications, from shapes."""

from typing import NamedTuple

from keras_perceiver.validation import check_choice

METHODS = ("grid", "dense", "projected")
# Beside its content, a grid adds the terms of its axes, divides by the deviation and
# sums over the axes: about as much work as this many channels.
GRID_OVERHEAD = 8
# What a size counts for that is known only at run time.
MANY = 2**20


class Part(NamedTuple):
    """Inputs of one modality.

    Attributes:
        num_inputs: int, M_i, or `None`: unknown, and taken to be many.
        channels: int, C_i, positions included.
        content_channels: int, c, of content on a grid with Fourier positions; `None`
            where the inputs are none.
    """

    num_inputs: int | None
    channels: int
    content_channels: int | None = None


def multiplications(method, num_queries, parts, channels, heads, qk_dim, v_dim):
    """Multiplications of one example's cross-attention that grow with N or M.

    | method | count |
    |---|---|
    | projected | M C (qk + v) for keys and values, N M (qk + v) for the attention |
    | dense | 2 H N M C for the attention, N C (qk + v) for the projections |
    | grid | 2 H N M (c + 8) for the attention, N C (qk + v) for the projections |

    Of several modalities, those without a grid count C_i in place of c + 8.

    Args:
        method: `"grid"`, `"dense"` or `"projected"`.
        num_queries: int, N, or `None`: unknown, and taken to be many.
        parts: sequence of `Part`, one for each modality; M is the sum of their inputs.
        channels: int, C, positions and padding included.
        heads: int, H.
        qk_dim: int, the total width of queries and keys.
        v_dim: int, the total width of values.

    Returns:
        int.
    """
    check_choice(METHODS, method=method)
    num_queries = num_queries or MANY
    width = qk_dim + v_dim
    sizes = [part.num_inputs or MANY for part in parts]
    if method == "projected":
        return sum(sizes) * width * (channels + num_queries)
    read = sum(sizes) * channels
    if method == "grid":
        read = sum(
            size * _channels_read(part) for size, part in zip(sizes, parts, strict=True)
        )
    return 2 * heads * num_queries * read + num_queries * channels * width


def choose_method(num_queries, parts, channels, heads, qk_dim, v_dim):
    """The method with the fewest multiplications; the batch makes no difference.

    Args:
        num_queries, parts, channels, heads, qk_dim, v_dim: as in `multiplications`.

    Returns:
        `"grid"`, where any part lies on one, `"dense"` or `"projected"`.
    """
    has_grid = any(part.content_channels is not None for part in parts)
    counts = {
        method: multiplications(
            method, num_queries, parts, channels, heads, qk_dim, v_dim
        )
        for method in METHODS
        if method != "grid" or has_grid
    }
    return min(counts, key=counts.get)


def _channels_read(part):
    if part.content_channels is None:
        return part.channels
    return part.content_channels + GRID_OVERHEAD
