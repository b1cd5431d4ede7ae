"""The Perceiver of `torch.nn` modules, and how any PyTorch module is run.

Needs PyTorch. Modules bear the names of our layers, so that weights go by name.
"""

import os

import torch

from benchmarks.contestants import Runner
from keras_perceiver.blocks import NORM_EPSILON

torch.set_num_threads(os.cpu_count())
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Attention(torch.nn.Module):
    """`scaled_dot_product_attention` between projections."""

    def __init__(self, heads, query_width, inputs_width, width):
        super().__init__()
        self.heads = heads
        self.query = torch.nn.Linear(query_width, width)
        self.key = torch.nn.Linear(inputs_width, width)
        self.value = torch.nn.Linear(inputs_width, width)
        self.attention_output = torch.nn.Linear(width, query_width)

    def forward(self, queries, inputs):
        query = self._split_heads(self.query(queries))
        key = self._split_heads(self.key(inputs))
        value = self._split_heads(self.value(inputs))
        attend = torch.nn.functional.scaled_dot_product_attention
        mixed = attend(query, key, value).transpose(1, 2).flatten(2)
        return self.attention_output(mixed)

    def _split_heads(self, x):
        """`(B, M, H d)` -> `(B, H, M, d)`."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Read(torch.nn.Module):
    """A cross-attention without the MLP that follows it; one head."""

    def __init__(self, width, channels):
        super().__init__()
        self.query_norm = torch.nn.LayerNorm(width, eps=NORM_EPSILON)
        self.inputs_norm = torch.nn.LayerNorm(channels, eps=NORM_EPSILON)
        self.attention = Attention(1, width, channels, channels)

    def forward(self, latents, inputs):
        read = self.attention(self.query_norm(latents), self.inputs_norm(inputs))
        return latents + read


class MLP(torch.nn.Module):
    """Two linear layers of one width with a GELU between them."""

    def __init__(self, width, approximate_gelu):
        super().__init__()
        self.hidden = torch.nn.Linear(width, width)
        self.gelu = torch.nn.GELU("tanh" if approximate_gelu else "none")
        self.result = torch.nn.Linear(width, width)

    def forward(self, x):
        return self.result(self.gelu(self.hidden(x)))


class CrossAttention(Read):
    """A cross-attend: latents read the inputs, then an MLP."""

    def __init__(self, width, channels, approximate_gelu):
        super().__init__(width, channels)
        self.mlp_norm = torch.nn.LayerNorm(width, eps=NORM_EPSILON)
        self.mlp = MLP(width, approximate_gelu)

    def forward(self, latents, inputs):
        x = super().forward(latents, inputs)
        return x + self.mlp(self.mlp_norm(x))


class SelfAttention(torch.nn.Module):
    """Self-attention, then an MLP."""

    def __init__(self, heads, width, approximate_gelu):
        super().__init__()
        self.norm = torch.nn.LayerNorm(width, eps=NORM_EPSILON)
        self.attention = Attention(heads, width, width, width)
        self.mlp_norm = torch.nn.LayerNorm(width, eps=NORM_EPSILON)
        self.mlp = MLP(width, approximate_gelu)

    def forward(self, x):
        y = self.norm(x)
        x = x + self.attention(y, y)
        return x + self.mlp(self.mlp_norm(x))


class LatentBlock(torch.nn.Module):
    """Self-attention layers with weights of their own."""

    def __init__(self, num_layers, heads, width, approximate_gelu):
        super().__init__()
        self.layers = torch.nn.Sequential(
            *(SelfAttention(heads, width, approximate_gelu) for _ in range(num_layers))
        )

    def forward(self, x):
        return self.layers(x)


class Encoder(torch.nn.Module):
    """Cross-attends and latent blocks in turn.

    Args:
        cross_attends: list of `CrossAttention`.
        latent_block: `LatentBlock`, which serves every time.
        steps: list of ids of cross-attends; `None` is the latent block.
    """

    def __init__(self, cross_attends, latent_block, steps):
        super().__init__()
        self.cross_attends = torch.nn.ModuleList(cross_attends)
        self.latent_blocks = torch.nn.ModuleList([latent_block])
        self.steps = steps

    def forward(self, latents, inputs):
        for i in self.steps:
            if i is None:
                latents = self.latent_blocks[0](latents)
            else:
                latents = self.cross_attends[i](latents, inputs)
        return latents


def layers_by_name(module):
    """dict path -> layer norm or linear layer of a module of this file."""
    kinds = (torch.nn.LayerNorm, torch.nn.Linear)
    named = module.named_modules()
    return {path: layer for path, layer in named if isinstance(layer, kinds)}


def load(layers, weights):
    """Copies our weights; every weight is used.

    Args:
        layers: dict path in our layer -> layer norm or linear layer.
        weights: dict path in our layer -> float32 array.
    """
    used = set()
    with torch.no_grad():
        for path, layer in layers.items():
            is_norm = isinstance(layer, torch.nn.LayerNorm)
            names = ("gamma", "beta") if is_norm else ("kernel", "bias")
            for name, own in zip(names, (layer.weight, layer.bias), strict=True):
                used.add(f"{path}.{name}")
                if own is not None:
                    own.copy_(torch.from_numpy(weights[f"{path}.{name}"].T))
    unused = sorted(set(weights) - used)
    if unused:
        raise ValueError(f"PyTorch has no counterpart of the weights {unused}")


def tensor(array):
    return torch.from_numpy(array).to(DEVICE)


def runner(module, call, learned=None, upstream=None):
    """A `Runner` of a PyTorch module.

    Args:
        module: `torch.nn.Module`.
        call: function without arguments to the output.
        learned: list of tensors to which gradients are computed.
        upstream: tensor, the gradient of the output; `None` for the forward pass
            alone.
    """
    module.eval()  # No dropout; there is nothing else that it changes.

    def forward():
        with torch.no_grad():
            return call().cpu().numpy()

    def training():
        gradients = torch.autograd.grad(call(), learned, upstream)
        return [gradient.cpu().numpy() for gradient in gradients]

    return Runner(forward, training if upstream is not None else None)
