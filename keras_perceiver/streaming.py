"""Attention over a byte array, some rows at a time, with nothing of size N x M kept."""

import contextlib
import contextvars
import dataclasses

from keras import ops

from keras_perceiver.gradients import with_gradient
from keras_perceiver.loops import sequential_loop
from keras_perceiver.sums import column_sums

# What one array of scores may take, in bytes: several of these fit in the cache that
# the cores of a CPU share, and a GPU is kept busy.
CHUNK_BYTES = 2**22
# The least number of rows, which the cores share; their scores take no more memory than
# a few channels of the inputs.
MIN_ROWS = 4
# The exponential of no logit below it is large or small enough to lose digits, whatever
# the sums over inputs are.
SAFE_LOGIT = 40.0
# The logit of an input that may not be attended to.
CLOSED = -1e30

_at_once = contextvars.ContextVar("keras_perceiver_at_once", default=False)


@contextlib.contextmanager
def at_once():
    """Attention that is called under it has no loop, at the price of all its memory.

    The scores of all rows of all examples are there together. It is for graphs whose
    runtime has no such loop.
    """
    token = _at_once.set(True)
    try:
        yield
    finally:
        _at_once.reset(token)


@dataclasses.dataclass(frozen=True)
class Chunk:
    """How many examples and rows are computed at a time.

    Attributes:
        examples: int or scalar int tensor, which divides the batch.
        rows: int or scalar int tensor, at most N.

    Both are `None` where all are computed at once.
    """

    examples: int | None
    rows: int | None


def choose_chunk(batch, rows, bytes_per_row, chunk_bytes=CHUNK_BYTES):
    """The largest chunk whose scores fit in a number of bytes.

    Args:
        batch: int or scalar int tensor, B.
        rows: int or scalar int tensor, N, the queries of one example.
        bytes_per_row: int or scalar int tensor, the bytes of all heads' scores of one
            query.
        chunk_bytes: int, the budget. A chunk holds four rows in any case, if there are
            as many.

    Returns:
        `Chunk`, of all where the call is under `at_once`.
    """
    if _at_once.get():
        return Chunk(None, None)
    smaller, larger = min, max
    if not (isinstance(rows, int) and isinstance(bytes_per_row, int)):
        smaller, larger = ops.minimum, ops.maximum
        # Sizes that only a graph knows are of 32 bits.
        chunk_bytes = min(chunk_bytes, 2**31 - 1)
    # There may be no queries or no inputs at all.
    rows = larger(rows, 1)
    fitting = larger(chunk_bytes // larger(bytes_per_row, 1), MIN_ROWS)
    # Chunks of equal size, so that little of the last one is padding.
    count = _ceil_divide(rows, smaller(fitting, rows))
    examples = _largest_divisor(batch, fitting // rows)
    return Chunk(examples, _ceil_divide(rows, count))


def _largest_divisor(number, most):
    """The largest divisor that is at most `most`, and 1 where there is none."""
    if isinstance(number, int) and isinstance(most, int):
        divisors = (n for n in range(1, min(number, most) + 1) if number % n == 0)
        return max(divisors, default=1)
    numbers = ops.arange(1, number + 1)
    divides = ops.logical_and(number % numbers == 0, numbers <= most)
    return ops.max(ops.where(divides, numbers, 1), initial=1)


def _ceil_divide(a, b):
    return -(-a // b)


def attend(u, byte_array, deviation, chunk, mask=None, keep=None):
    """Softmax-weighted sums of the inputs over their deviation.

    For each row r, over the inputs m,

        p[r, m]  = softmax(u[r] . x[m] / deviation[m])
        o[r]     = sum_m keep[r, m] p[r, m] x[m] / deviation[m]
        total[r] = sum_m keep[r, m] p[r, m]

    Exact. The forward pass holds the scores of one chunk; the backward pass computes
    them again, by closed forms, and holds as little.

    Args:
        u: float tensor `(B, N, H, C)`, the rows: a vector for each query and head,
            centred over the channels.
        byte_array: `ByteArray` of B examples.
        deviation: float tensor `(B, M)`, no less than the standard deviation of an
            input over its channels.
        chunk: `Chunk`.
        mask: optional bool tensor `(1 or B, 1 or N, 1 or M)`, `True` = attend.
        keep: optional function of the first example and the first query of a chunk, and
            of their numbers, to what its weights are multiplied with, a tensor
            `(examples, rows, H, M)`. Dropout.

    Returns:
        Pair of float tensors `o`, `(B, N, H, C)`, and `total`, `(B, N, H)`. Rows that
        may attend to nothing are zero in both.
    """
    batch, num_rows, heads, width = ops.shape(u)
    padding = 0 if chunk.rows is None else -num_rows % chunk.rows
    if not (isinstance(padding, int) and padding == 0):
        u = _pad_rows(u, padding)
        if mask is not None and mask.shape[1] != 1:
            mask = _pad_rows(mask, padding)
    # With its deviation for one more channel, an input over its deviation ends with a
    # one: scores then add a constant to each row, and weighted sums of the inputs end
    # with the sum of the weights.
    byte_array = byte_array.with_channel(deviation)
    stream = _Stream(byte_array, chunk, mask, keep, (batch, num_rows + padding, heads))

    def streamed(u, *inputs):
        answers = stream.forward(u, inputs)

        def gradient(upstream):
            # Two loops, so that the second is dropped from a graph where nobody asks
            # for the gradient of the content, as with pixels.
            return (
                stream.backward_rows(u, inputs, answers, upstream),
                *stream.backward_inputs(u, inputs, answers, upstream),
            )

        return answers, gradient

    answers = with_gradient(streamed)(u, *byte_array.tensors, 1.0 / deviation)
    answers = answers[:, :num_rows]
    return answers[..., :width], answers[..., width]


def _append(x, channel):
    return ops.concatenate([x, channel], axis=-1)


def _pad_rows(x, padding):
    sizes = list(ops.shape(x))
    sizes[1] = padding
    return ops.concatenate([x, ops.zeros(sizes, dtype=x.dtype)], axis=1)


class _Stream:
    """The loops over chunks, forward and backward.

    Its inputs are the tensors of the byte array, whose last channel is the deviation,
    and the inverse deviation. An answer is `(o, total, log-sum-exp)`, C + 2 channels:
    with rows and inputs, all that the backward pass needs.
    """

    def __init__(self, byte_array, chunk, mask, keep, shape):
        self.byte_array = byte_array
        self.chunk = chunk
        self.mask = mask
        self.keep = keep
        self.shape = shape  # (B, N, H), N padded to whole chunks.

    def forward(self, u, inputs):
        log_inverse = ops.log(inputs[-1])

        def step(part):
            logits, shift = part.shifted_logits(part.rows(u))
            # Weights over the deviation. The division is left to the exponential: XLA
            # keeps the one array for all who read it, but writes what a product gives
            # once for each of them.
            scaled = ops.exp(logits + part.examples(log_inverse)[:, None])
            if part.keep is None:
                sums = part.byte_array.mix(scaled)
                normalizer = sums[..., -1:]
            else:
                sums = part.byte_array.mix(scaled * part.keep)
                normalizer = ops.sum(scaled / part.inverse, axis=-1, keepdims=True)
            # It is zero where there is nothing to attend to, and so are the sums.
            ones = ops.ones_like(normalizer)
            normalizer = ops.where(normalizer > 0.0, normalizer, ones)
            log_sum = shift + ops.log(normalizer)
            return ops.concatenate([sums / normalizer, log_sum], axis=-1)

        return self._over_rows(step, inputs, self.byte_array.channels + 1)

    def backward_rows(self, u, inputs, answers, upstream):
        """The gradient of `u`."""

        def step(part):
            (of_logits, *_), _ = part.gradients(u, answers, upstream)
            return part.byte_array.mix(of_logits * part.inverse)[..., :-1]

        return self._over_rows(step, inputs, self.byte_array.channels - 1)

    def backward_inputs(self, u, inputs, answers, upstream):
        """The gradients of the inputs."""

        def of_deviation(terms):
            # What ends a step of a loop, XLA does not put together with what follows.
            return column_sums(terms) if self._is_single else ops.sum(terms, axis=1)

        def body(i, state):
            part = _Part(self, i, inputs)
            by_logits, by_values = (
                (
                    *part.byte_array.spread(weights * part.inverse, rows),
                    of_deviation(weights * scores),
                )
                for weights, rows, scores in part.gradients(u, answers, upstream)
            )
            gradients = [a + b for a, b in zip(by_logits, by_values, strict=True)]
            if self._is_single:
                return tuple(gradients)
            return tuple(
                part.add_to_examples(total, gradient)
                for total, gradient in zip(state, gradients, strict=True)
            )

        return self._run(body, tuple(ops.zeros_like(x) for x in inputs))

    def _over_rows(self, step, inputs, width):
        """Runs a step for each chunk and puts its result in the rows of the chunk."""
        shape = (*self.shape, width)
        if self._is_single:
            return ops.reshape(step(_Part(self, 0, inputs)), shape)
        sizes = (self.chunk.examples, self.chunk.rows, *shape[2:])

        def body(i, state):
            part = _Part(self, i, inputs)
            result = ops.reshape(step(part), sizes)
            start = (part.example, part.row, 0, 0)
            return (ops.slice_update(state[0], start, result),)

        return self._run(body, (ops.zeros(shape, dtype=inputs[-1].dtype),))[0]

    def _run(self, body, state):
        if self._is_single:
            return body(0, state)
        return sequential_loop(self._count, body, state)

    @property
    def _count(self):
        batch, num_rows, _ = self.shape
        return (batch // self.chunk.examples) * (num_rows // self.chunk.rows)

    @property
    def _is_single(self):
        if self.chunk.rows is None:
            return True
        return isinstance(self._count, int) and self._count == 1


class _Part:
    """One chunk: some examples, and some rows of each."""

    def __init__(self, stream, i, inputs):
        batch, num_rows, self.heads = stream.shape
        self.is_whole = stream.chunk.rows is None
        if self.is_whole:
            self.chunk = Chunk(batch, num_rows)
            self.example = self.row = 0
        else:
            self.chunk = stream.chunk
            chunks_per_example = num_rows // self.chunk.rows
            self.example = (i // chunks_per_example) * self.chunk.examples
            self.row = (i % chunks_per_example) * self.chunk.rows
        *tensors, inverse = (self.examples(x) for x in inputs)
        self.byte_array = stream.byte_array.with_tensors(tensors)
        self.inverse = inverse[:, None]
        num_inputs = self.byte_array.num_inputs
        self.keep = None
        if stream.keep is not None:
            keep = stream.keep(
                self.example, self.row, self.chunk.examples, self.chunk.rows
            )
            self.keep = ops.reshape(keep, (self.chunk.examples, -1, num_inputs))
        self.mask = None
        if stream.mask is not None:
            self.mask = self._rows_of_mask(stream.mask, num_inputs)

    def examples(self, x):
        """The examples of this chunk, `(B, ...) -> (examples, ...)`."""
        if self.is_whole:
            return x
        start, sizes = self._place(x)
        return ops.slice(x, start, sizes)

    def add_to_examples(self, total, x):
        """`total`, with `x` added at the examples of this chunk."""
        start, _ = self._place(total)
        return ops.slice_update(total, start, self.examples(total) + x)

    def _place(self, x):
        rest = tuple(ops.shape(x)[1:])
        return (self.example, *(0 for _ in rest)), (self.chunk.examples, *rest)

    def rows(self, x):
        """The rows of this chunk, `(B, N, H, C) -> (examples, rows H, C)`."""
        examples, rows, width = self.chunk.examples, self.chunk.rows, x.shape[-1]
        if not self.is_whole:
            start = (self.example, self.row, 0, 0)
            x = ops.slice(x, start, (examples, rows, self.heads, width))
        return ops.reshape(x, (examples, rows * self.heads, width))

    def logits(self, rows):
        """The logits, and the scores of rows and inputs which they scale."""
        scores = self.byte_array.scores(rows)
        logits = scores * self.inverse
        if self.mask is not None:
            logits = ops.where(self.mask, logits, ops.cast(CLOSED, logits.dtype))
        return logits, scores

    def shifted_logits(self, rows):
        """The logits less a shift of each row, so that none is too large.

        The highest logit of the row; but zero where no logit can be far from it. For a
        centred row u and an input x of deviation s, `|u . x| / s <= |u| sqrt(C)`.

        Returns:
            Pair of the shifted logits, and the shifts.
        """
        zeros = ops.zeros_like(rows[..., :1])

        def highest(logits):
            highest = ops.max(logits, axis=-1, keepdims=True, initial=CLOSED)
            # A row that may attend to nothing has none.
            return ops.where(highest > CLOSED, highest, zeros)

        if self.is_whole:
            # Without a condition, of which a runtime might not know the shapes.
            logits, _ = self.logits(_append(rows, zeros))
            shift = highest(logits)
            return logits - shift, shift
        squares = ops.sum(ops.square(rows), axis=-1)
        bound = ops.sqrt(ops.max(squares, initial=0.0) * rows.shape[-1])
        shift = ops.cond(
            bound < SAFE_LOGIT,
            lambda: zeros,
            lambda: highest(self.logits(_append(rows, zeros))[0]),
        )
        return self.logits(_append(rows, -shift))[0], shift

    def gradients(self, u, answers, upstream):
        """The gradients of the logits and of the scores of the values.

        Returns:
            Two triples: a gradient, the rows that were multiplied with the inputs, and
            the scores which that gave, still to be divided by the deviation.
        """
        answers, upstream = self.rows(answers), self.rows(upstream)
        rows = _append(self.rows(u), -answers[..., -1:])
        logits, scores = self.logits(rows)
        weights = ops.exp(logits)
        answers, upstream = answers[..., :-1], upstream[..., :-1]
        mean = ops.sum(upstream * answers, axis=-1, keepdims=True)
        if self.keep is None:
            # A constant of the row, for which its last channel is there.
            upstream = _append(upstream[..., :-1], upstream[..., -1:] - mean)
        upstream_scores = self.byte_array.scores(upstream)
        of_weights, kept = upstream_scores * self.inverse, weights
        if self.keep is not None:
            of_weights, kept = of_weights * self.keep - mean, weights * self.keep
        return (weights * of_weights, rows, scores), (kept, upstream, upstream_scores)

    def _rows_of_mask(self, mask, num_inputs):
        """`(1 or B, 1 or N, 1 or M) -> (1 or examples, 1 or rows H, 1 or M)`."""
        several = [size != 1 for size in mask.shape]
        if not self.is_whole:
            places = (self.example, self.row, 0)
            counts = (self.chunk.examples, self.chunk.rows, num_inputs)
            pairs = list(zip(places, counts, several, strict=True))
            mask = ops.slice(
                mask,
                [place if many else 0 for place, _, many in pairs],
                [count if many else 1 for _, count, many in pairs],
            )
        if several[1] and self.heads > 1:
            mask = ops.repeat(mask, self.heads, axis=1)
        return mask
