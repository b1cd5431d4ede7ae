"""The Perceiver of Hugging Face's blocks. Needs PyTorch and transformers."""

import torch
from transformers import PerceiverConfig
from transformers.models.perceiver.modeling_perceiver import PerceiverLayer

from benchmarks import hugging_face, torch_layers


class Classifier(torch.nn.Module):
    """Cross-attends and latent blocks in turn, and a linear layer after their mean.

    Hugging Face's own `PerceiverEncoder` reads the inputs once, so that it is its
    blocks that are put together.

    Args:
        task: `Task`.
    """

    def __init__(self, task):
        super().__init__()
        own = task.config
        width, channels = own["latent_dim"], task.adapter.channels
        # The tanh approximation of GELU, and no dropout.
        config = PerceiverConfig(
            hidden_act="gelu_pytorch_tanh", attention_probs_dropout_prob=0.0
        )

        def block(**arguments):
            return PerceiverLayer(config, q_dim=width, widening_factor=1, **arguments)

        self.cross_attends = torch.nn.ModuleList(
            block(
                is_cross_attention=True,
                qk_channels=channels,
                v_channels=channels,
                kv_dim=channels,
                num_heads=own["num_cross_heads"],
            )
            for _ in range(task.num_weights["cross_attend"])
        )
        self.latent_blocks = torch.nn.ModuleList(
            torch.nn.ModuleList(
                block(
                    qk_channels=width,
                    v_channels=width,
                    kv_dim=width,
                    num_heads=own["num_self_heads"],
                )
                for _ in range(own["num_layers_per_block"])
            )
            for _ in range(task.num_weights["latent_block"])
        )
        self.latents = torch.nn.Parameter(0.02 * torch.randn(own["num_latents"], width))
        self.logits = torch.nn.Linear(width, task.num_classes)
        self.steps = task.steps

    def forward(self, inputs):
        latents = self.latents.expand(len(inputs), -1, -1)
        for kind, i in self.steps:
            if kind == "cross_attend":
                latents = self.cross_attends[i](latents, inputs=inputs)[0]
            else:
                for layer in self.latent_blocks[i]:
                    latents = layer(latents)[0]
        return self.logits(latents.mean(1))

    def load(self, model, weights):
        """Copies our weights.

        Args:
            model: our classifier.
            weights: dict path -> array, as of `Task`.
        """
        blocks = {f"cross_attends.{i}": x for i, x in enumerate(self.cross_attends)}
        for i, latent_block in enumerate(self.latent_blocks):
            for j, layer in enumerate(latent_block):
                blocks[f"latent_blocks.{i}.layers.{j}"] = layer
        layers = {
            f"{prefix}.{path}": layer
            for prefix, block in blocks.items()
            for path, layer in hugging_face.block_layers(block).items()
        }
        torch_layers.load(layers, weights)
        with torch.no_grad():
            for own, given in (
                (self.latents, model.backbone.latent_array.latents),
                (self.logits.weight, model.output_layer.kernel),
                (self.logits.bias, model.output_layer.bias),
            ):
                array = torch.from_numpy(given.numpy())
                own.copy_(array.T if own is self.logits.weight else array)
