"""Who reads: our layer in its ways, other packages, and points of reference."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

import keras_perceiver as kp
from benchmarks.contestants import Contestant, Runner, wait
from benchmarks.cross_attention.task import channels_of
from keras_perceiver.blocks import NORM_EPSILON

MATMUL_SIZE = 2048


class Read(kp.layers.CrossAttention):
    """A cross-attention without the MLP that follows it."""

    def add_mlp(self, x, training):
        return x


def make_ours(task, method, jit_compile):
    """`kp.layers.CrossAttention`, in a graph with or without XLA.

    On a grid it reads the content; else the byte array, ready-made, as others do.
    """
    positions, inputs = task.positions, tf.constant(task.content)
    if method != "grid":
        # Not `task.byte_array`, which would then be in memory more than once.
        inputs = kp.layers.CrossAttention(positions=positions).dense(inputs)
        positions = None
    layer = Read(
        positions=positions, method=method, chunk_bytes=task.setting.chunk_bytes
    )
    layer.build(task.latents.shape, inputs.shape)
    for path, array in task.weights.items():
        functools.reduce(getattr, path.split("."), layer).assign(array)
    latents = tf.Variable(task.latents)
    upstream = tf.constant(task.upstream)
    parts = (layer.query_norm, layer.inputs_norm, layer.attention)
    weights = [weight.value for part in parts for weight in part.trainable_weights]

    @tf.function(jit_compile=jit_compile)
    def forward(inputs):
        return layer(latents, inputs)

    @tf.function(jit_compile=jit_compile)
    def training(inputs, upstream):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(latents, inputs) * upstream)
        return tape.gradient(loss, [latents, *weights])

    return Runner(
        lambda: forward(inputs).numpy(),
        lambda: [gradient.numpy() for gradient in training(inputs, upstream)],
    )


def make_softmax(task):
    """One softmax over an array of N x M: the least that attention must do."""
    logits = tf.random.uniform((task.setting.latents, task.case.num_inputs))
    softmax = tf.function(tf.nn.softmax)
    return Runner(lambda: wait(softmax(logits)))


def make_matmul(task):
    """A large product of matrices: the rate that the machine is capable of."""
    matrix = tf.random.uniform((MATMUL_SIZE, MATMUL_SIZE))
    multiply = tf.function(tf.matmul)
    return Runner(lambda: wait(multiply(matrix, matrix)))


def make_mlp(task):
    """The MLP of a whole cross-attend, which does not depend on the inputs."""
    layer = kp.layers.MLP()
    norm = keras.layers.LayerNormalization(epsilon=NORM_EPSILON)
    latents, upstream = tf.Variable(task.latents), tf.constant(task.upstream)
    layer(norm(latents))
    weights = [w.value for part in (norm, layer) for w in part.trainable_weights]

    @tf.function
    def forward():
        return latents + layer(norm(latents))

    @tf.function
    def training(upstream):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(forward() * upstream)
        return tape.gradient(loss, [latents, *weights])

    return Runner(
        lambda: forward().numpy(), lambda: [g.numpy() for g in training(upstream)]
    )


def make_sdpa(task):
    """PyTorch's `scaled_dot_product_attention` with norms and projections."""
    from benchmarks import torch_layers

    module = torch_layers.Read(task.setting.latent_dim, task.channels)
    torch_layers.load(torch_layers.layers_by_name(module), task.weights)
    return torch_runner(task, module)


def make_hugging_face(task):
    """The cross-attention of `PerceiverLayer`, less the MLP that follows it."""
    from transformers import PerceiverConfig
    from transformers.models.perceiver.modeling_perceiver import PerceiverLayer

    from benchmarks import hugging_face, torch_layers

    module = PerceiverLayer(
        PerceiverConfig(),
        is_cross_attention=True,
        qk_channels=task.channels,
        v_channels=task.channels,
        num_heads=1,
        q_dim=task.setting.latent_dim,
        kv_dim=task.channels,
        widening_factor=1,
    ).attention
    torch_layers.load(hugging_face.attention_layers(module), task.weights)

    def call(latents, inputs):
        return module(latents, inputs=inputs)[0]

    return torch_runner(task, module, call)


def make_perceiver_pytorch(task):
    """`Attention` of perceiver-pytorch within its `PreNorm`, and the residual."""
    import torch
    from perceiver_pytorch.perceiver_pytorch import Attention, PreNorm

    from benchmarks import torch_layers

    width, channels = task.setting.latent_dim, task.channels
    attention = Attention(width, channels, heads=1, dim_head=channels)
    module = PreNorm(width, attention, context_dim=channels)
    layers = {
        "query_norm": module.norm,
        "inputs_norm": module.norm_context,
        "attention.query": attention.to_q,
        "attention.attention_output": attention.to_out,
    }
    # Keys and values are one layer, without biases.
    both = ("attention.key", "attention.value")
    weights = {n: w for n, w in task.weights.items() if not n.startswith(both)}
    torch_layers.load(layers, weights)
    kernels = np.concatenate([task.weights[f"{name}.kernel"] for name in both], 1)
    with torch.no_grad():
        attention.to_kv.weight.copy_(torch.from_numpy(kernels.T))

    def call(latents, inputs):
        return latents + module(latents, context=inputs)

    return torch_runner(task, module, call)


def torch_runner(task, module, call=None):
    """A `Runner` of a PyTorch module; `call` defaults to the module."""
    from benchmarks import torch_layers

    module.to(torch_layers.DEVICE)
    inputs = torch_layers.tensor(task.byte_array)
    latents = torch_layers.tensor(task.latents).requires_grad_()
    return torch_layers.runner(
        module,
        lambda: (call or module)(latents, inputs),
        learned=[latents, *module.parameters()],
        upstream=torch_layers.tensor(task.upstream),
    )


@dataclasses.dataclass(frozen=True)
class AttentionContestant(Contestant):
    """An implementation of one cross-attention, before it is made.

    Attributes:
        way: what it keeps in memory, a key of `estimated_bytes`.
    """

    way: str = "nothing"


def _contestants():
    contestants = {}
    ways = {"grid": "chunks", "dense": "array", "projected": "weights"}
    for method, way in ways.items():
        for suffix, jit_compile in (("", False), ("-xla", True)):
            make = functools.partial(make_ours, method=method, jit_compile=jit_compile)
            contestants[method + suffix] = AttentionContestant(make, way=way)
    return contestants | {
        "torch-sdpa": AttentionContestant(make_sdpa, "torch", way="keys"),
        "hugging-face": AttentionContestant(
            make_hugging_face, "transformers", way="weights"
        ),
        "perceiver-pytorch": AttentionContestant(
            make_perceiver_pytorch, "perceiver_pytorch", way="weights"
        ),
        "softmax": AttentionContestant(make_softmax, way="softmax", is_reference=True),
        "matmul": AttentionContestant(make_matmul, is_reference=True),
        "mlp": AttentionContestant(make_mlp, is_reference=True),
    }


CONTESTANTS = _contestants()


def estimated_bytes(way, case, setting, quantity):
    """What a way of computing keeps at a time, from shapes alone.

    The arrays of M x C are the byte array, its norm, keys and values, and what an
    implementation makes on the way; those of N x M the scores and the weights. The
    backward pass holds about as many again.
    """
    array = case.num_inputs * channels_of(case, setting)
    scores = setting.latents * case.num_inputs
    passes = 2 if quantity == "training" else 1
    floats = {
        "nothing": 0,
        "softmax": 2 * scores,
        "chunks": 2 * case.num_inputs * (case.content_channels + 4),
        "array": 4 * array,
        "keys": 4 * array * passes,
        "weights": (4 * array + 2 * scores) * passes,
    }[way]
    in_chunks = 8 * setting.chunk_bytes if way in ("chunks", "array") else 0
    return 4 * floats + in_chunks
