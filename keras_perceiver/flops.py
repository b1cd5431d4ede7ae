"""What a classifier costs, from its configuration alone: nothing is run.

Counted is what the papers count: the products of matrices, a multiplication and an
addition being 2 FLOPs. Biases, normalizations, softmax, GELU and residuals are not; on
Perceiver ImageNet they are about a thousandth. That gives 404.0, 447.1, 533.5 and 706.3
GFLOPs for 1, 2, 4 and 8 cross-attends, where the paper's table 6 has 404.3, 447.6,
534.1 and 707.2. Where a grid adds up the terms of its axes in place of a product, those
additions count, too.

With M inputs of C channels, N queries of D channels, H heads, and keys and values of
qk and v channels in all, the products of one attention are

| product | FLOPs |
|---|---|
| queries and result | 2 N D (qk + v) |
| keys and values | 2 M C (qk + v) |
| scores, and their sums of values | 2 N M (qk + v) |
| MLP of hidden width w D | 4 N w D^2 |

Without keys and values, the second and third row are instead

| product | FLOPs |
|---|---|
| keys of the queries, values of what they read | 2 N C (qk + v) |
| dense: scores, sums | 2 R, R = 2 H N M (C + 1) |
| grid: scores, sums | 2 R, R = 2 H N (M (c + 2) + sum_j n_j (2 K + 1)) |

where a grid of sizes n_j has c channels of content and K bands. On a single axis it is
M (c + 1.5); each of several modalities has M (c + 3), or half less on a single axis,
and the channels that pad it. What all cross-attends or all examples share is counted
once, as a compiler computes it. Where logits may be so large that the highest must be
known first, the forward pass computes the scores once more; that depends on the weights
and is not counted.

A training step is the forward pass and the gradient of each product by both of its
factors: 3 times the forward pass. Without keys, the backward pass computes scores again
instead of keeping them: R in the forward pass is 2, in the step 5 (scores, sums; again
scores, those of the gradient, its sums), and 9 where the inputs need a gradient because
the adapter has weights.

A layer that is recomputed runs once more in a training step, forward, and keeps its
inputs alone.

What is kept for the backward pass is each array that a gradient of the above needs, and
those of normalizations, GELU and dropout, once. TensorFlow without a compiler, which
takes GELU and the like apart, keeps 1.3 to 1.6 times as much of a model with 64 latents
of 128 channels, and more where sizes are tiny; a compiler may keep less. What is at
work besides, such as gradients, is not counted.
"""

import inspect
import math
from typing import NamedTuple

import keras

from keras_perceiver.cost import choose_method
from keras_perceiver.encoder import schedule, sharing_ids
from keras_perceiver.modalities import MultimodalPositions
from keras_perceiver.models.backbone import PerceiverBackbone
from keras_perceiver.positions import FourierPositions
from keras_perceiver.reading import reader_of
from keras_perceiver.validation import check_divides, check_positive


class Cost(NamedTuple):
    """What one example costs.

    Attributes:
        forward: int, FLOPs of the forward pass.
        training: int, FLOPs of forward and backward pass.
        kept: int, bytes kept between the two.
    """

    forward: int
    training: int
    kept: int

    @classmethod
    def of_products(cls, forward, kept=0):
        """The cost of products whose factors both need a gradient."""
        return cls(forward, 3 * forward, kept)

    def plus(self, other):
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, count):
        return Cost(*(count * a for a in self))


class Part(NamedTuple):
    """A part of a classifier, with all its calls.

    Attributes:
        name: str.
        calls: int, how often it runs in a forward pass.
        parameters: int, shared ones counted once.
        projected: `Cost`, with keys and values: as the papers count.
        ours: `Cost`, as the model computes it.
    """

    name: str
    calls: int
    parameters: int
    projected: Cost
    ours: Cost


class Summary(NamedTuple):
    """What a classifier is and costs.

    Attributes:
        parts: list of `Part`: adapter, latents, cross-attends, latent blocks, decoder.
        method: str, how the cross-attends read: "grid", "dense" or "projected".
        num_inputs: int, M.
        channels: int, C.
        input_bytes: int, of what the model takes of one example.
    """

    parts: list
    method: str
    num_inputs: int
    channels: int
    input_bytes: int

    @property
    def total(self):
        """All parts together, a `Part`."""
        zero = Cost(0, 0, 0)
        whole = Part("total", 0, 0, zero, zero)
        for part in self.parts:
            whole = Part(
                "total",
                whole.calls + part.calls,
                whole.parameters + part.parameters,
                whole.projected.plus(part.projected),
                whole.ours.plus(part.ours),
            )
        return whole


def summarize(inputs, num_classes, **config):
    """What a `kp.PerceiverClassifier` of a backbone's configuration costs.

    The backbone is not built, only the adapter. The decoder is the average over the
    latents.

    Args:
        inputs: adapter of `kp.inputs`, or a serialized one.
        num_classes: int, E.
        **config: the other arguments of `kp.PerceiverBackbone`.

    Returns:
        `Summary`.

    Raises:
        ValueError: where an argument is out of its range, or a size of the inputs
            varies.
    """
    check_positive(num_classes=num_classes)
    if isinstance(inputs, dict):
        inputs = keras.layers.deserialize(inputs)
    if inputs.num_inputs is None:
        raise ValueError(
            "What a model costs depends on the number of its inputs, so that the sizes "
            f"of the adapter must be known. Received: content of {inputs.content_shape}"
        )
    raw = inputs.symbolic_inputs()
    inputs(raw)  # Which builds it.
    args = _with_defaults(inputs, config)
    num_latents, dim = args["num_latents"], args["latent_dim"]
    crosses = sharing_ids(
        args["cross_attend_sharing"], args["num_cross_attends"], "cross_attend_sharing"
    )
    blocks = sharing_ids(
        args["latent_block_sharing"], args["num_latent_blocks"], "latent_block_sharing"
    )
    schedule(len(crosses), len(blocks), args["cross_attend_placement"])  # Is it one?
    compute = keras.dtype_policies.get(args["dtype"]).compute_dtype

    cross = _Attention(
        queries=num_latents,
        dim=dim,
        inputs=inputs.num_inputs,
        channels=inputs.channels,
        heads=args["num_cross_heads"],
        qk=args["cross_qk_dim"] or args["qk_dim"] or "inputs",
        v=args["v_dim"],
        widening=args["cross_widening_factor"],
        dropouts=(args["dropout_rate"], args["attention_dropout_rate"]),
        dtype=compute,
    )
    layer = _Attention(
        queries=num_latents,
        dim=dim,
        inputs=num_latents,
        channels=dim,
        heads=args["num_self_heads"],
        qk=args["qk_dim"] or dim,
        v=args["v_dim"],
        widening=args["self_widening_factor"],
        dropouts=(args["dropout_rate"], args["attention_dropout_rate"]),
        dtype=compute,
    )
    reader = reader_of(inputs.grid_positions)
    method = args["method"]
    if method == "auto":
        method = choose_method(
            num_latents,
            reader.parts(_batched(inputs.content_shape)),
            cross.channels,
            cross.heads,
            cross.qk,
            cross.v,
        )
    reading = cross.projected()
    own_reading = reading
    if method != "projected":
        product, spread = _products_of_rows(inputs, num_latents, cross, method)
        has_weights = inputs.count_params() > 0
        own_reading = cross.without_keys(product, spread if has_weights else None)

    count = inputs.num_inputs
    content = sum(math.prod(s) for s in _shapes(inputs.content_shape).values())
    # Once for all cross-attends: the byte array, and what it is made of.
    adapter = Cost.of_products(inputs.flops)
    byte_array = count * inputs.channels * cross.size
    content_only = content * cross.size + 2 * count * cross.wide_size
    own_kept = content_only if method == "grid" else byte_array
    num_layers = args["num_layers_per_block"]
    own_layer = layer.projected(is_self=True)
    blocks_cost = own_layer.times(num_layers * len(blocks))
    own_blocks_cost = blocks_cost
    if args["recompute"]:
        # The inputs of all layers, and all of the one that is at work.
        calls = num_layers * len(blocks)
        # What the MLP returns, its last product, no gradient needs.
        again = own_layer.forward - 2 * num_latents * layer.widening * dim**2
        own_blocks_cost = blocks_cost._replace(
            training=blocks_cost.training + calls * again,
            kept=calls * num_latents * dim * layer.size + own_layer.kept,
        )
    logits = Cost.of_products(2 * dim * num_classes, dim * 4)
    zero = Cost(0, 0, 0)
    parts = [
        Part(
            "adapter",
            1,
            inputs.count_params(),
            adapter._replace(kept=byte_array),
            adapter._replace(kept=own_kept),
        ),
        Part("latents", 1, num_latents * dim, zero, zero),
        Part(
            "cross-attends",
            len(crosses),
            (max(crosses) + 1) * (cross.parameters + 2 * cross.channels),
            reading.times(len(crosses)),
            own_reading.times(len(crosses)),
        ),
        Part(
            "latent blocks",
            len(blocks),
            (max(blocks) + 1) * num_layers * layer.parameters,
            blocks_cost,
            own_blocks_cost,
        ),
        Part("decoder", 1, (dim + 1) * num_classes, logits, logits),
    ]
    return Summary(parts, method, count, inputs.channels, _bytes_of(raw))


def _with_defaults(inputs, config):
    """All arguments of a backbone."""
    known = PerceiverBackbone.argument_names()
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise ValueError(
            f"`config` must be arguments of `kp.PerceiverBackbone`. Received: {unknown}"
        )
    parameters = inspect.signature(PerceiverBackbone.__init__).parameters
    args = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.default is not parameter.empty
    }
    args |= {name: value for name, value in config.items()}
    sizes = (
        "num_latents",
        "latent_dim",
        "num_layers_per_block",
        "num_cross_heads",
        "num_self_heads",
        "cross_widening_factor",
        "self_widening_factor",
    )
    missing = [name for name in sizes if name not in args]
    if missing:
        raise ValueError(f"`config` must have {missing}. Received: {sorted(config)}")
    check_positive(**{name: args[name] for name in sizes})
    return args


class _Attention:
    """Sizes of a residual block, and what follows from them for one call."""

    def __init__(
        self, queries, dim, inputs, channels, heads, qk, v, widening, dropouts, dtype
    ):
        self.queries = queries
        self.dim = dim
        self.inputs = inputs
        self.channels = channels
        self.heads = heads
        self.qk = {"inputs": channels, "queries": dim}.get(qk, qk)
        self.v = v or self.qk
        check_positive(qk_dim=self.qk, v_dim=self.v)
        check_divides(heads, qk_dim=self.qk, v_dim=self.v)
        self.widening = widening
        self.dropouts = [rate > 0 for rate in dropouts]
        self.size = _itemsize(dtype)
        # Softmax, and what is read without keys, have at least float32.
        self.wide_size = max(4, self.size)

    @property
    def parameters(self):
        """But for the normalization of the inputs, which self-attention lacks."""
        projections = (self.dim + self.channels + 2) * self.qk
        projections += (self.channels + 1) * self.v + (self.v + 1) * self.dim
        hidden = self.widening * self.dim
        mlp = (self.dim + 1) * hidden + (hidden + 1) * self.dim
        return projections + mlp + 4 * self.dim

    @property
    def _of_queries(self):
        """Products of the size of the queries: projections of them, and the MLP."""
        attention = 2 * self.queries * self.dim * (self.qk + self.v)
        return attention + 4 * self.queries * self.widening * self.dim**2

    @property
    def _kept_of_queries(self):
        """Bytes of the arrays with a row for each query."""
        # Of attention: queries, normalised ones, projected ones, what they read.
        width = 2 * self.dim + self.qk + self.v
        # Of the MLP: its input, the normalised one, hidden before and after the GELU.
        width += 2 * self.dim + 2 * self.widening * self.dim
        # Two masks of results.
        width += 2 * self.dim * self.dropouts[0]
        return self.queries * width * self.size

    def projected(self, is_self=False):
        """With keys and values, a `Cost`."""
        width = self.qk + self.v
        forward = 2 * self.inputs * width * (self.channels + self.queries)
        kept = self.inputs * width * self.size
        if not is_self:
            kept += self.inputs * self.channels * self.size  # The normalised inputs.
        # Weights, in a narrower dtype again for the sums, and their dropout.
        copies = self.wide_size + (self.size if self.size < self.wide_size else 0)
        copies += 2 * self.size * self.dropouts[1]
        kept += self.heads * self.queries * self.inputs * copies
        return Cost.of_products(
            self._of_queries + forward, self._kept_of_queries + kept
        )

    def without_keys(self, product, spread):
        """From the byte array itself.

        Args:
            product: int, FLOPs of R, the scores of all rows.
            spread: int, FLOPs of a gradient of the inputs, or `None` without any.

        Returns:
            `Cost`.
        """
        rows = 2 * self.queries * self.channels * (self.qk + self.v)
        same = self._of_queries + rows
        training = 3 * same + 5 * product
        if spread is not None:
            training += 2 * product + 2 * spread
        # The rows and their answers.
        kept = self.queries * self.heads * (2 * self.channels + 2) * self.wide_size
        return Cost(same + 2 * product, training, self._kept_of_queries + kept)


def _products_of_rows(adapter, queries, cross, method):
    """FLOPs of the scores of all rows, and of a gradient of the inputs."""
    rows = queries * cross.heads
    if method == "dense":
        product = 2 * rows * cross.inputs * (cross.channels + 1)
        return product, product
    shapes = _shapes(adapter.content_shape)
    positions = adapter.grid_positions
    several = isinstance(positions, MultimodalPositions)
    product = spread = 0
    for name, (*grid, channels) in shapes.items():
        own = positions.positions[name] if several else positions
        count = math.prod(grid)
        own_width = 0 if own is None else own.channels(grid)
        additions = 2 * several
        tables = 0
        if isinstance(own, FourierPositions):
            axes = own.axis_channels(len(grid))
            tables = sum(n * len(c) for n, c in zip(grid, axes, strict=True))
            additions += 2 if len(grid) > 1 else 1
        else:
            channels, own_width = channels + own_width, 0
        content = 2 * rows * count * (channels + 1)
        padding = cross.channels - channels - own_width
        product += content + 2 * rows * (tables + padding) + rows * count * additions
        spread += content + 2 * rows * padding
    return product, spread


def _shapes(content_shape):
    if isinstance(content_shape, dict):
        return content_shape
    return {"inputs": content_shape}


def _batched(content_shape):
    if isinstance(content_shape, dict):
        return {name: (None, *shape) for name, shape in content_shape.items()}
    return (None, *content_shape)


def _bytes_of(raw):
    """Bytes of one example of symbolic inputs."""
    return sum(
        math.prod(x.shape[1:]) * _itemsize(keras.backend.standardize_dtype(x.dtype))
        for x in keras.tree.flatten(raw)
    )


def _itemsize(dtype):
    if dtype == "bool":
        return 1
    return int("".join(c for c in dtype if c.isdigit())) // 8
