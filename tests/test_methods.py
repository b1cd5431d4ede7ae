"""Grid, dense and projected are one function: values, gradients, masks, dropout."""

import dataclasses
import functools
import math

import keras
import numpy as np
import pytest
from keras import ops

import keras_perceiver as kp
from helpers import (
    EXACT,
    EXACT_DTYPE,
    HAS_GRADIENTS,
    B,
    D,
    N,
    gradients,
    randomize,
)
from keras_perceiver.streaming import at_once


@dataclasses.dataclass
class Case:
    """Content of one modality, or a dict of several; with its positions."""

    shapes: tuple | dict  # Of one example: grid and content channels.
    heads: int = 1
    offset: float = 0.0
    scale: float = 1.0
    min_padding: int = 0
    learned: tuple = ()  # Modalities with learned positions.
    dense: tuple = ()  # Modalities without any.

    def positions(self, dtype):
        if not isinstance(self.shapes, dict):
            return kp.FourierPositions(4, self.shapes[:-1], dtype=dtype)
        positions = {}
        for name, (*grid, _) in self.shapes.items():
            positions[name] = kp.FourierPositions(4, grid, dtype=dtype)
            if name in self.learned:
                positions[name] = kp.LearnedPositions(grid, 3, dtype=dtype, name=name)
            if name in self.dense:
                positions[name] = None
        return kp.MultimodalPositions(
            positions, self.min_padding, dtype=dtype, name="positions"
        )


CASES = {
    "sequence": Case((13, 3)),
    "image": Case((5, 7, 3), heads=2),
    "one row": Case((1, 7, 1)),
    "pixels 0..255": Case((5, 7, 3), offset=128.0, scale=70.0),
    "near-zero variance": Case((5, 7, 3), scale=1e-6),
    "wide content": Case((3, 5, 64), heads=4),
    "video": Case((2, 3, 5, 2), heads=4),
    "rank 4": Case((2, 3, 1, 5, 2)),
    "image and sound": Case(
        {"image": (3, 5, 3), "audio": (7, 2)}, heads=2, min_padding=4
    ),
    # The widest modality has no padding, and the names come in no order.
    "image, words and table": Case(
        {"words": (5, 11), "image": (2, 3, 3), "table": (3, 23)},
        learned=("words",),
        dense=("table",),
    ),
    "one of one": Case({"image": (3, 5, 3)}, min_padding=1),
}
QK_DIMS = {1: "inputs", 2: 22, 4: 20}


def mapped(function, shapes):
    """A function of a shape, or of each in a dict."""
    if isinstance(shapes, dict):
        return {name: function(shape) for name, shape in shapes.items()}
    return function(shapes)


def make_layer(case, method, dtype="float32", shapes=None, **kwargs):
    case = CASES[case]
    layer = kp.layers.CrossAttention(
        num_heads=case.heads,
        qk_dim=QK_DIMS[case.heads],
        positions=case.positions(dtype),
        method=method,
        dtype=dtype,
        **kwargs,
    )
    shapes = shapes or [(B, N, D), mapped(lambda shape: (B, *shape), case.shapes)]
    layer.build(*shapes)
    randomize(layer)
    return layer


def make_data(case, dtype="float32"):
    case = CASES[case]
    rng = np.random.default_rng(0)

    def content(shape):
        content = rng.normal(size=(B, *shape)) * case.scale + case.offset
        # Rounded to float32 first, so that both precisions get the same numbers.
        return content.astype("float32").astype(dtype)

    content = mapped(content, case.shapes)
    return rng.normal(size=(B, N, D)).astype("float32").astype(dtype), content


def values_and_gradients(layer, queries, content, compiled=None, **call):
    """The result, and the gradients of queries, content and every weight."""

    names, contents = [], [content]
    if isinstance(content, dict):
        names, contents = list(content), list(content.values())

    def loss(queries, *contents):
        content = dict(zip(names, contents, strict=True)) if names else contents[0]
        result = layer(queries, content, **call)
        weights = np.random.default_rng(1).normal(size=result.shape)
        return ops.sum(result * ops.cast(weights, result.dtype)), result

    if not HAS_GRADIENTS:
        return {"result": ops.convert_to_numpy(layer(queries, content, **call))}
    result, of_tensors, of_weights = gradients(
        loss, [queries, *contents], layer, compiled
    )
    names = ["result", "queries", *(names or ["content"])]
    names += [v.path for v in layer.trainable_weights]
    found = [result, *of_tensors, *of_weights]
    # The softmax does not see the keys' bias: its gradient is rounding alone.
    return {
        name.partition("/")[2] or name: value.astype("float64")
        for name, value in zip(names, found, strict=True)
        if not name.endswith("key/bias")
    }


def difference(one, other):
    """The largest difference of any value or gradient, relative to its largest."""
    return max(
        np.abs(one[name] - other[name]).max() / np.abs(other[name]).max()
        for name in other
    )


@functools.cache
def of_projected(case, dtype="float32", mask="none"):
    """What all others are held to: keys and values are made of every input."""
    layer, call = make_layer(case, "projected", dtype), masks(case)[mask]
    return values_and_gradients(layer, *make_data(case, dtype), **call)


def masks(case):
    rng = np.random.default_rng(2)
    shapes = CASES[case].shapes

    def mask(shape):
        mask = rng.random((B, *shape[:-1])) < 0.7
        mask[0] = False  # An example with nothing to read.
        return mask

    sizes = mapped(lambda shape: math.prod(shape[:-1]), shapes)
    num_inputs = sum(sizes.values()) if isinstance(sizes, dict) else sizes
    attention_mask = rng.random((B, N, num_inputs)) < 0.7
    attention_mask[1, 3] = False  # A query with nothing to read.
    return {
        "none": {},
        "inputs": {"inputs_mask": mapped(mask, shapes)},
        "queries": {"queries_mask": rng.random((B, N)) < 0.7},
        "attention": {"attention_mask": attention_mask},
    }


@pytest.mark.tf_only("Keras keeps float64 on TensorFlow alone")
@pytest.mark.parametrize("method", ["grid", "dense"])
@pytest.mark.parametrize("case", CASES)
def test_exact_in_float64(case, method):
    data = make_data(case, "float64")
    received = values_and_gradients(make_layer(case, method, "float64"), *data)
    assert difference(received, of_projected(case, "float64")) < 1e-10


@pytest.mark.parametrize("method", ["grid", "dense"])
@pytest.mark.parametrize("case", CASES)
def test_exact_in_float32(case, method):
    data = make_data(case)
    received = values_and_gradients(make_layer(case, method), *data)
    assert difference(received, of_projected(case)) < 2e-5


@pytest.mark.parametrize("method", ["grid", "dense"])
@pytest.mark.parametrize("mask", ["inputs", "queries", "attention"])
@pytest.mark.parametrize("chunk_bytes", [1, 300, 2**22])
@pytest.mark.parametrize("case", ["image", "image and sound"])
def test_masks_and_chunks(case, method, mask, chunk_bytes):
    data = make_data(case, EXACT_DTYPE)
    call = masks(case)[mask]
    layer = make_layer(case, method, EXACT_DTYPE, chunk_bytes=chunk_bytes)
    received = values_and_gradients(layer, *data, **call)
    assert difference(received, of_projected(case, EXACT_DTYPE, mask)) < EXACT


@pytest.mark.parametrize("method", ["grid", "dense"])
@pytest.mark.parametrize("mask", ["none", "inputs", "queries", "attention"])
@pytest.mark.parametrize("case", ["image", "image and sound"])
def test_at_once(case, method, mask):
    data = make_data(case, EXACT_DTYPE)
    call = masks(case)[mask]
    layer = make_layer(case, method, EXACT_DTYPE, chunk_bytes=300)
    with at_once():
        received = values_and_gradients(layer, *data, **call)
    assert difference(received, of_projected(case, EXACT_DTYPE, mask)) < EXACT


# Keras says of int8 on NumPy that there are no gradients.
@pytest.mark.filterwarnings("ignore:.*custom_gradient.*:UserWarning")
@pytest.mark.parametrize("lora", [False, True], ids=["plain", "lora"])
@pytest.mark.parametrize("method", ["grid", "dense"])
def test_int8(method, lora, monkeypatch):
    data = make_data("image")

    def quantized(method):
        layer = make_layer("image", method)
        rng = np.random.default_rng(3)
        for name in ("query", "key", "value", "attention_output"):
            projection = getattr(layer.attention, name)
            projection.quantize("int8")
            if lora:
                projection.enable_lora(2)
                for kernel in (projection.lora_kernel_a, projection.lora_kernel_b):
                    kernel.assign(0.3 * rng.normal(size=kernel.shape))
        return layer

    projected = ops.convert_to_numpy(quantized("projected")(*data))
    layer = quantized(method)
    # Neither keys nor values are made.
    monkeypatch.setattr(type(layer.attention), "call", None)
    read = ops.convert_to_numpy(layer(*data))
    assert np.abs(read - projected).max() < 0.03 * np.abs(projected).max()


@pytest.mark.tf_only("gradients are always compiled on JAX, and never on PyTorch")
@pytest.mark.parametrize("mask", ["none", "attention"])
@pytest.mark.parametrize("compiled", [None, True], ids=["eager", "xla"])
def test_logits_whose_exponentials_overflow(mask, compiled):
    data = make_data("image", "float64")
    found = []
    for method in ("projected", "grid"):
        layer = make_layer("image", method, "float64", chunk_bytes=300)
        layer.attention.query.kernel.assign(300 * layer.attention.query.kernel)
        call = masks("image")[mask]
        found.append(values_and_gradients(layer, *data, compiled, **call))
    expected, received = found
    assert difference(received, expected) < 1e-10


@pytest.mark.tf_only("gradients are always compiled on JAX, and never on PyTorch")
@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("chunk_bytes", [300, 2**22])
@pytest.mark.parametrize(
    "case, method",
    [
        ("video", "grid"),
        ("image, words and table", "grid"),
        ("image, words and table", "dense"),
    ],
)
def test_compiled(case, method, compiled, chunk_bytes):
    data = make_data(case)
    layer = make_layer(case, method, chunk_bytes=chunk_bytes)
    received = values_and_gradients(layer, *data, compiled)
    assert difference(received, of_projected(case)) < 2e-5


@pytest.mark.parametrize("case", ["image", "image and sound"])
@pytest.mark.parametrize("method", ["grid", "dense"])
@pytest.mark.parametrize("chunk_bytes", [300, 2**22])
def test_the_same_weights_are_dropped(case, method, chunk_bytes):
    data = make_data(case, EXACT_DTYPE)
    found = []
    for kwargs in ({"method": "projected"}, {"method": method}):
        layer = make_layer(
            case,
            dtype=EXACT_DTYPE,
            attention_dropout_rate=0.4,
            chunk_bytes=chunk_bytes,
            **kwargs,
        )
        layer.attention.dropout.seed_generator.state.assign([3, 0])
        found.append(values_and_gradients(layer, *data, training=True))
    assert difference(*found) < EXACT
    assert difference(found[0], of_projected(case, EXACT_DTYPE)) > 1e-2


@pytest.mark.parametrize("case", ["image", "image and sound"])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_no_worse_than_projected(case, policy):
    data = make_data(case)
    exact = ops.convert_to_numpy(make_layer(case, "projected")(*data))
    errors = {}
    for method in ("grid", "dense", "projected"):
        result = make_layer(case, method, policy)(*data)
        result = ops.convert_to_numpy(ops.cast(result, "float32"))
        errors[method] = np.abs(result - exact).mean()
    assert errors["grid"] <= 1.2 * errors["projected"]
    assert errors["dense"] <= 1.2 * errors["projected"]


@pytest.mark.tf_only
@pytest.mark.parametrize("case", ["image", "image and sound"])
def test_sizes_known_only_at_run_time(case):
    import tensorflow as tf

    data, mask = make_data(case), masks(case)["inputs"]["inputs_mask"]
    layer = make_layer(case, "grid", chunk_bytes=300)
    expected = layer(*data, inputs_mask=mask)

    def unknown(x, known=0):
        sizes = (None,) * (x.ndim - known)
        return tf.TensorSpec((*sizes, *x.shape[x.ndim - known :]), x.dtype)

    specs = [mapped(lambda x: unknown(x, known=1), x) for x in data]
    shapes = [mapped(lambda x: tuple(x.shape), x) for x in specs]
    other = make_layer(case, "grid", chunk_bytes=300, shapes=shapes)
    other.set_weights(layer.get_weights())

    @tf.function(input_signature=[*specs, mapped(unknown, mask)])
    def dynamic(queries, content, mask):
        return other(queries, content, inputs_mask=mask)

    np.testing.assert_allclose(dynamic(*data, mask), expected, atol=1e-5)


@pytest.mark.parametrize("method", ["grid", "dense"])
def test_huge_content_of_a_query_with_nothing_to_read(method):
    layer = make_layer("image", method)
    layer.attention.query.kernel.assign(300 * layer.attention.query.kernel)
    queries, content = make_data("image")
    call = masks("image")["attention"]
    found = values_and_gradients(layer, queries, 1e9 * content, **call)
    assert all(np.isfinite(value).all() for value in found.values())


@pytest.mark.parametrize("method", ["auto", "grid", "dense", "projected"])
@pytest.mark.parametrize("scale", [1, 300])
def test_no_inputs_at_all(method, scale):
    layer = make_layer("image", method, chunk_bytes=300)
    layer.attention.query.kernel.assign(scale * layer.attention.query.kernel)
    queries, content = make_data("image")
    nothing = np.zeros_like(content)
    closed = np.zeros(content.shape[:-1], "bool")
    expected = layer(queries, nothing, inputs_mask=closed)
    empty = content[:, :0]
    found = values_and_gradients(layer, queries, empty)
    np.testing.assert_allclose(found["result"], expected, atol=1e-6)
    assert all(np.isfinite(value).all() for value in found.values())


@pytest.mark.tf_only
@pytest.mark.parametrize("method", ["grid", "dense"])
def test_no_inputs_at_run_time(method):
    import tensorflow as tf

    layer = make_layer("image", method)
    queries, content = make_data("image")
    spec = tf.TensorSpec((None, None, None, content.shape[-1]), content.dtype)
    dynamic = tf.function(layer, input_signature=[tf.TensorSpec((B, N, D)), spec])
    empty = content[:, :0]
    np.testing.assert_allclose(
        dynamic(queries, empty), layer(queries, empty), atol=1e-6
    )


def test_saved_models_do_not_know_the_method(tmp_path):
    case, data = "image", make_data("image")
    queries = keras.Input((N, D))
    content = keras.Input(CASES[case].shapes)
    results = []
    for method in ("grid", "projected"):
        layer = make_layer(case, method)
        model = keras.Model([queries, content], layer(queries, content))
        model.save_weights(tmp_path / f"{method}.weights.h5")
    for method, saved in (("grid", "projected"), ("projected", "grid")):
        layer = make_layer(case, method)
        model = keras.Model([queries, content], layer(queries, content))
        model.load_weights(tmp_path / f"{saved}.weights.h5")
        results.append(model(list(data)))
    np.testing.assert_allclose(*results, atol=1e-5)
