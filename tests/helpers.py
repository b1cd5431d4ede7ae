"""Checks that every layer of the package must pass."""

import inspect
import json

import keras
import numpy as np
from keras import ops

BACKEND = keras.backend.backend()
HAS_GRADIENTS = BACKEND != "numpy"
# The dtype in which rounding vanishes, and what is left of it. TensorFlow's alone: on
# other backends the type promotion of Keras ends at float32, so that its layer
# normalizations, sines and means are float32 also in layers of float64.
EXACT_DTYPE, EXACT = (
    ("float64", 1e-10) if BACKEND == "tensorflow" else ("float32", 2e-5)
)

# Distinct primes, so that a transposed axis cannot pass unseen.
B, M, C, N, D = 2, 13, 5, 7, 12

POLICIES = {
    "float32": ("float32", 0.0),
    "mixed_bfloat16": ("bfloat16", 0.08),
    "mixed_float16": ("float16", 0.02),
    "float16": ("float16", 0.05),
    "bfloat16": ("bfloat16", 0.1),
}
if EXACT_DTYPE == "float64":
    POLICIES["float64"] = ("float64", 1e-4)


def array(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def randomize(layer, seed=1):
    """Gives every variable a random value, so that none is at a neutral zero."""
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        if "float" in keras.backend.standardize_dtype(variable.dtype):
            value = rng.normal(size=variable.shape) * 0.3
            variable.assign(value + ("gamma" in variable.path))


def config_round_trip(layer):
    """A copy of a layer from its config, through JSON."""
    config = json.loads(json.dumps(layer.get_config()))
    copy = type(layer).from_config(config)
    assert json.loads(json.dumps(copy.get_config())) == config
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert type(keras.saving.deserialize_keras_object(serialized)) is type(layer)
    own = set(inspect.signature(type(layer).__init__).parameters)
    own -= {"self", "kwargs"}
    assert own <= set(config), own - set(config)
    return copy


def check_layer(make, inputs, output_shape, num_weights, num_seeds=0, call=None):
    """Config, state, symbolic shapes, policies, gradients and saving of a layer.

    Args:
        make: function of keyword arguments that makes the layer.
        inputs: dict from call argument to array.
        output_shape: expected shape of the result.
        num_weights: expected number of variables that are trained.
        num_seeds: expected number of seed generators where dropout is on.
        call: dict of further call arguments.
    """
    call = call or {}
    layer = make()
    copy = config_round_trip(layer)

    # Building from shapes makes all state; calling adds none.
    for one in (layer, copy):
        names = list(inspect.signature(type(one).build).parameters)[1:]
        shapes = [np.shape(value) for value in inputs.values()][: len(names)]
        one.build(*shapes)
        assert len(one.trainable_variables) == num_weights
    randomize(layer)
    eager = ops.convert_to_numpy(layer(**inputs, **call))
    assert eager.shape == output_shape
    assert np.isfinite(eager).all()
    assert len(layer.trainable_variables) == num_weights
    np.testing.assert_array_equal(eager, layer(**inputs, **call))

    # What the graph promises is what comes.
    for batch in (None, inputs[next(iter(inputs))].shape[0]):
        symbolic = {
            name: keras.KerasTensor((batch, *value.shape[1:]), value.dtype)
            for name, value in inputs.items()
        }
        spec = layer(**symbolic, **call)
        assert spec.shape == (batch, *output_shape[1:])
        assert spec.dtype == keras.backend.standardize_dtype(eager.dtype)

    if HAS_GRADIENTS:
        check_gradients(layer, inputs, call)
    check_policies(make, layer, inputs, eager, call)
    if num_seeds:
        noisy = make(dropout_rate=0.5, attention_dropout_rate=0.5)
        first = ops.convert_to_numpy(noisy(**inputs, **call, training=True))
        second = ops.convert_to_numpy(noisy(**inputs, **call, training=True))
        assert np.abs(first - second).max() > 0
        np.testing.assert_array_equal(
            noisy(**inputs, **call), noisy(**inputs, **call, training=False)
        )
        generators = [
            variable
            for variable in noisy.non_trainable_variables
            if "seed" in variable.path
        ]
        assert len(generators) == num_seeds


def gradients(function, tensors, layer, compiled=None):
    """A scalar's gradients, on the backends that have any (`HAS_GRADIENTS`).

    Args:
        function: from the tensors to a pair (scalar loss, result).
        tensors: list of arrays.
        layer: the built layer that the function calls; its weights count, too.
        compiled: `None` runs eagerly, `False` as a graph, `True` under XLA. Of
            TensorFlow alone: JAX is always compiled, and PyTorch never.

    Returns:
        Triple of the result, the gradients of the tensors and those of the layer's
        trainable variables, NumPy arrays or `None`.
    """
    variables = layer.trainable_variables
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def compute(*tensors):
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                loss, result = function(*tensors)
            values = [variable.value for variable in variables]
            return result, tape.gradient(loss, [*tensors, *values])

        if compiled is not None:
            compute = tf.function(compute, jit_compile=compiled)
        tensors = [tf.constant(x) for x in tensors]
    elif BACKEND == "torch":
        import torch

        def compute(*tensors):
            values = [variable.value for variable in variables]
            with torch.enable_grad():
                loss, result = function(*tensors)
            found = torch.autograd.grad(loss, [*tensors, *values], allow_unused=True)
            return result, found

        tensors = [ops.convert_to_tensor(x).requires_grad_() for x in tensors]
    else:
        import jax

        def loss_of(tensors, values):
            pairs = zip(variables, values, strict=True)
            with keras.StatelessScope(state_mapping=list(pairs)):
                return function(*tensors)

        @jax.jit
        def compute(*tensors):
            values = [variable.value for variable in variables]
            gradient = jax.grad(loss_of, argnums=(0, 1), has_aux=True)
            (of_tensors, of_values), result = gradient(list(tensors), values)
            return result, [*of_tensors, *of_values]

        tensors = [ops.convert_to_tensor(x) for x in tensors]
    result, found = compute(*tensors)
    found = [None if x is None else ops.convert_to_numpy(x) for x in found]
    count = len(tensors)
    return ops.convert_to_numpy(result), found[:count], found[count:]


def check_gradients(layer, inputs, call):
    """Every weight and every float input moves the result, by a finite gradient."""
    tensors = {k: v for k, v in inputs.items() if v.dtype == "float32"}
    rest = {k: v for k, v in inputs.items() if k not in tensors}

    def loss(*values):
        result = layer(**dict(zip(tensors, values, strict=True)), **rest, **call)
        weights = ops.convert_to_tensor(array(*result.shape, seed=3))
        return ops.sum(result * weights), result

    _, of_tensors, of_weights = gradients(loss, list(tensors.values()), layer)
    names = [*tensors, *(v.path for v in layer.trainable_variables)]
    for name, gradient in zip(names, of_tensors + of_weights, strict=True):
        assert gradient is not None, name
        assert np.isfinite(gradient).all(), name
        # The softmax does not see a key's bias: it adds the same to a whole row.
        if not name.endswith("key/bias"):
            assert np.abs(gradient).max() > 0, name


def check_policies(make, layer, inputs, expected, call):
    """Dtypes of results, weights and sublayers, and values near those in float32."""
    for policy, (compute_dtype, tolerance) in POLICIES.items():
        other = make(dtype=policy)
        fed = {
            name: value.astype("float64")
            if policy == "float64" and value.dtype == "float32"
            else value
            for name, value in inputs.items()
        }
        result = other(**fed, **call)
        assert keras.backend.standardize_dtype(result.dtype) == compute_dtype
        other.set_weights(layer.get_weights())
        for sublayer in other._flatten_layers():
            # Positions keep their own dtype, and are cast where they are used.
            if not hasattr(sublayer, "grid"):
                assert sublayer.compute_dtype == compute_dtype, sublayer.path
        result = ops.convert_to_numpy(ops.cast(other(**fed, **call), "float32"))
        scale = np.abs(expected).max()
        assert np.abs(result - expected).max() <= tolerance * scale, policy


def save_and_load(model, path):
    """The model as it comes back from a `.keras` file."""
    model.save(path)
    loaded = keras.models.load_model(path, compile=False)
    assert type(loaded) is type(model)
    return loaded
