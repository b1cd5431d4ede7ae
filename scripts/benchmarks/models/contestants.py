"""Who runs a model: ours, other packages, and the matrix products alone."""

import math

import tensorflow as tf

from benchmarks.contestants import Runner, wait
from keras_perceiver.encoder import schedule


def make_ours(task, jit_compile):
    """Our model in a graph, with or without XLA."""
    inputs = tf.constant(task.inputs)

    @tf.function(jit_compile=jit_compile)
    def forward(inputs):
        return task.model(inputs, training=False)

    return Runner(lambda: forward(inputs).numpy())


def make_sdpa_encoder(task):
    """The encoder in PyTorch, with `scaled_dot_product_attention`."""
    from benchmarks import torch_layers

    own, gelu = task.setting, task.approximate_gelu
    width, channels = own.latent_dim, task.byte_array.shape[-1]
    steps = [
        min(i, 1) if kind == "cross_attend" else None
        for kind, i in schedule(task.cross_attends, own.iterations)
    ]
    module = torch_layers.Encoder(
        [
            torch_layers.CrossAttention(width, channels, gelu)
            for _ in range(min(task.cross_attends, 2))
        ],
        torch_layers.LatentBlock(own.layers, own.heads, width, gelu),
        steps,
    )
    torch_layers.load(torch_layers.layers_by_name(module), task.weights)
    module.to(torch_layers.DEVICE)
    inputs = torch_layers.tensor(task.byte_array)
    latents = torch_layers.tensor(task.latents)[None]
    return torch_layers.runner(module, lambda: module(latents, inputs))


def make_sdpa_block(task):
    """The latent block in PyTorch, with `scaled_dot_product_attention`."""
    from benchmarks import torch_layers

    own = task.setting
    module = torch_layers.LatentBlock(
        own.layers, own.heads, own.latent_dim, task.approximate_gelu
    )
    torch_layers.load(torch_layers.layers_by_name(module), task.weights)
    module.to(torch_layers.DEVICE)
    inputs = torch_layers.tensor(task.inputs)
    return torch_layers.runner(module, lambda: module(inputs))


def make_hugging_face(task):
    """`PerceiverModel` as `deepmind/vision-perceiver-fourier` configures its encoder.

    Its preprocessor, which would make the byte array anew in each call, is left out.
    """
    import torch
    from transformers import PerceiverConfig, PerceiverModel

    from benchmarks import hugging_face, torch_layers

    own = task.setting
    config = PerceiverConfig(
        d_model=task.byte_array.shape[-1],
        d_latents=own.latent_dim,
        num_latents=own.latents,
        num_blocks=own.iterations,
        num_self_attends_per_block=own.layers,
        num_self_attention_heads=own.heads,
        num_cross_attention_heads=1,
    )
    module = PerceiverModel(config)
    torch_layers.load(hugging_face.encoder_layers(module.encoder), task.weights)
    with torch.no_grad():
        module.embeddings.latents.copy_(torch.from_numpy(task.latents))
    module.to(torch_layers.DEVICE)
    inputs = torch_layers.tensor(task.byte_array)
    return torch_layers.runner(module, lambda: module(inputs).last_hidden_state)


def make_products(task, jit_compile):
    """The matrix products of a latent block by TensorFlow, and nothing else."""
    chains = [
        [tf.random.normal(shape, stddev=deviation) for shape, deviation in chain]
        for chain in chains_of_products(task.setting)
    ]

    @tf.function(jit_compile=jit_compile)
    def multiply(chains):
        return [multiply_all(chain, tf.matmul) for chain in chains]

    return Runner(lambda: [wait(x) for x in multiply(chains)])


def make_torch_products(task):
    """The matrix products of a latent block by PyTorch, and nothing else."""
    import torch

    from benchmarks import torch_layers

    chains = [
        [torch.randn(shape, device=torch_layers.DEVICE) * d for shape, d in chain]
        for chain in chains_of_products(task.setting)
    ]

    def multiply():
        with torch.no_grad():
            products = [multiply_all(chain, torch.matmul) for chain in chains]
        return [product.flatten()[-1].item() for product in products]

    return Runner(multiply)


def multiply_all(chain, multiply):
    """The product of a chain, from the left; no product can be left out."""
    product, *factors = chain
    for factor in factors:
        product = multiply(product, factor)
    return product


def chains_of_products(setting):
    """Shapes of matrices whose products are those of a latent block, no others.

    Returns:
        List of two chains, for the projections and for the attention of all heads: a
        list of pairs (shape, standard deviation) each. The deviations keep the
        products near one, since tiny numbers take longer.
    """
    rows, width, heads = setting.latents, setting.latent_dim, setting.heads
    head_dim = width // heads
    # Queries, keys, values, the attention's output, and the MLP's two.
    kernels = [((width, width), 1 / math.sqrt(width))] * 6 * setting.layers
    # Scores, and what they mix.
    attention = [
        ((1, heads, head_dim, rows), 1 / math.sqrt(head_dim)),
        ((1, heads, rows, head_dim), 1 / math.sqrt(rows)),
    ] * setting.layers
    return [
        [((rows, width), 1.0), *kernels],
        [((1, heads, rows, head_dim), 1.0), *attention],
    ]


def multiplications(setting):
    """Multiplications of all matrix products of a latent block; as many additions."""
    projections = 6 * setting.latents * setting.latent_dim**2
    attention = 2 * setting.latents**2 * setting.latent_dim
    return setting.layers * (projections + attention)
