"""Which way to compute a cross-attention: a count of multiplications, from shapes."""

from keras_perceiver.validation import check_choice

METHODS = ("grid", "dense", "projected")
# Beside its content, a grid adds the terms of its axes, divides by the deviation and
# sums over the axes: about as much work as this many channels.
GRID_OVERHEAD = 8


def multiplications(
    method, num_queries, num_inputs, channels, content_channels, heads, qk_dim, v_dim
):
    """Multiplications of one example's cross-attention that grow with N or M.

    | method | count |
    |---|---|
    | projected | M C (qk + v) for keys and values, N M (qk + v) for the attention |
    | dense | 2 H N M C for the attention, N C (qk + v) for the projections |
    | grid | 2 H N M (c + 8) for the attention, N C (qk + v) for the projections |

    Args:
        method: `"grid"`, `"dense"` or `"projected"`.
        num_queries: int, N.
        num_inputs: int, M.
        channels: int, C, positions included.
        content_channels: int, c.
        heads: int, H.
        qk_dim: int, the total width of queries and keys.
        v_dim: int, the total width of values.

    Returns:
        int.
    """
    check_choice(METHODS, method=method)
    width = qk_dim + v_dim
    if method == "projected":
        return num_inputs * width * (channels + num_queries)
    read = channels if method == "dense" else content_channels + GRID_OVERHEAD
    return 2 * heads * num_queries * num_inputs * read + num_queries * channels * width


def choose_method(
    num_queries, num_inputs, channels, content_channels, heads, qk_dim, v_dim, has_grid
):
    """The method with the fewest multiplications; the batch makes no difference.

    Args:
        num_queries: int, N, or `None`: unknown, and taken to be many.
        num_inputs: int, M, or `None`: unknown, and taken to be many.
        has_grid: bool. Whether the inputs are content on a grid with Fourier positions.
        channels, content_channels, heads, qk_dim, v_dim: as in `multiplications`.

    Returns:
        `"grid"`, `"dense"` or `"projected"`.
    """
    many = 2**20
    counts = {
        method: multiplications(
            method,
            num_queries or many,
            num_inputs or many,
            channels,
            content_channels,
            heads,
            qk_dim,
            v_dim,
        )
        for method in METHODS
        if method != "grid" or has_grid
    }
    return min(counts, key=counts.get)
