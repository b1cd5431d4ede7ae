"""Layers of which the backward pass computes again what it needs."""

import keras


def recomputed(layer, inputs, **arguments):
    """What a layer returns, of which nothing is kept but its inputs.

    The backward pass runs the layer again, on the same weights and the same seeds, so
    that dropout drops the same: gradients are those of the layer itself.

    Args:
        layer: built `keras.layers.Layer`. Each of its seed generators serves once in a
            call.
        inputs: float tensor, its first argument.
        **arguments: others, to which no gradient goes.

    Returns:
        Tensor.
    """
    # Not those of a frozen layer: LoRA trains some that are within one.
    weights = [variable for variable in layer.variables if variable.trainable]
    generators = [
        sublayer.seed_generator
        for sublayer in layer._flatten_layers()
        if hasattr(sublayer, "seed_generator")
    ]
    # A generator moves on here, once, and not where the layer runs again.
    states = [
        (generator.state, generator.next(ordered=True)) for generator in generators
    ]

    def run(inputs, *values):
        mapping = [*zip(weights, values, strict=True), *states]
        # The layer, not its `call`: what runs again is in no scope of a dtype.
        with keras.StatelessScope(state_mapping=mapping):
            return layer(inputs, **arguments)

    return keras.remat(run)(inputs, *(weight.value for weight in weights))
