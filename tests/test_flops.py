"""What a classifier costs, against the papers and against TensorFlow's graphs."""

import math

import pytest
import tensorflow as tf

import keras_perceiver as kp
from keras_perceiver import flops
from keras_perceiver.presets import PRESETS, backbone_config

SIZES = {
    "num_latents": 7,
    "latent_dim": 12,
    "num_cross_attends": 2,
    "num_latent_blocks": 2,
    "num_layers_per_block": 1,
    "num_self_heads": 2,
    "self_widening_factor": 3,
}


def image(**kwargs):
    return kp.inputs.ImageInput((6, 5, 3), kp.FourierPositions(3), **kwargs)


def patches():
    return image(patch_size=(2, 2), projection_dim=10)


def learned(**kwargs):
    positions = kp.LearnedPositions((6, 5), 4, **kwargs)
    return kp.inputs.ImageInput((6, 5, 3), positions)


def projected_positions():
    return learned(projection_dim=9)


def convolution():
    return kp.inputs.ConvImageInput((8, 12, 3), kp.FourierPositions(3))


def wave():
    return kp.inputs.AudioInput((60,), kp.FourierPositions(4), segment_length=4)


def both():
    return kp.inputs.MultimodalInput({"audio": wave(), "image": image()}, min_padding=2)


def points():
    return kp.inputs.PointsInput((11, 4), kp.FourierPositions(3, 8))


def text():
    return kp.inputs.TextInput((9,), embedding_dim=6)


@pytest.mark.parametrize(
    "cross_attends, gigaflops", [(1, 404.3), (2, 447.6), (4, 534.1), (8, 707.2)]
)
def test_the_papers_figures_for_imagenet(cross_attends, gigaflops):
    config = backbone_config("perceiver_imagenet", load_weights=False)
    config["num_cross_attends"] = cross_attends
    summary = flops.summarize(num_classes=1000, **config)
    total = summary.total
    assert total.projected.forward / 1e9 == pytest.approx(gigaflops, rel=0.002)
    assert total.projected.training == 3 * total.projected.forward
    assert summary.method == "grid"
    assert (summary.num_inputs, summary.channels) == (50176, 261)
    assert summary.input_bytes == 4 * 224 * 224 * 3
    # Reading on the grid is what the latent blocks do not need.
    reads = summary.parts[2]
    assert reads.ours.forward < 0.1 * reads.projected.forward
    assert reads.ours.kept < 0.1 * reads.projected.kept


@pytest.mark.parametrize(
    "adapter, method",
    [
        (image, "grid"),
        (image, "dense"),
        (image, "projected"),
        (wave, "grid"),
        (both, "grid"),
        (learned, "dense"),
        (points, "dense"),
        (text, "projected"),
    ],
)
def test_every_product_of_the_graph_is_counted(adapter, method):
    inputs = adapter()
    config = {**SIZES, "method": method, "cross_widening_factor": 2, "v_dim": 8}
    config |= {"cross_qk_dim": 6, "num_cross_heads": 2}
    total = flops.summarize(inputs, 3, **config).total
    model = kp.PerceiverClassifier(kp.PerceiverBackbone(inputs, **config), 3)
    assert total.parameters == model.count_params()
    forward, training, kept = measured(model)
    # Which takes apart what the count takes as one, and most so at such sizes.
    assert total.ours.kept < kept < 2.5 * total.ours.kept
    additions = additions_of(inputs) if method == "grid" else 0
    # Sums of the paddings of modalities are no products in the graph.
    rel = 0.005 if adapter is both else 0
    assert total.ours.forward - 2 * additions == pytest.approx(forward, rel=rel)
    times = 7 if inputs.count_params() else 5
    assert total.ours.training - times * additions == pytest.approx(training, rel=rel)
    if method == "projected":
        assert total.ours == total.projected


def test_recomputed_layers_run_again_and_keep_their_inputs():
    config = {**SIZES, "num_layers_per_block": 3, "method": "projected"}
    plain = flops.summarize(image(), 3, **config).total
    total = flops.summarize(image(), 3, recompute=True, **config).total
    assert total.projected == plain.projected
    assert total.ours.kept < plain.ours.kept
    backbone = kp.PerceiverBackbone(image(), recompute=True, **config)
    model = kp.PerceiverClassifier(backbone, 3)
    forward, training, kept = measured(model, training=True)
    assert (total.ours.forward, total.ours.training) == (forward, training)
    backbone = kp.PerceiverBackbone(image(), **config)
    *_, kept_without = measured(kp.PerceiverClassifier(backbone, 3), training=True)
    # Of a layer its input of 7 x 12 floats; all else is of the cross-attends.
    of_layers = 4 * 7 * 12 * (2 * 3)
    blocks = flops.summarize(image(), 3, **config).parts[3].ours.kept
    assert kept <= kept_without - blocks + 2 * of_layers


@pytest.mark.parametrize("adapter", [patches, convolution, projected_positions])
def test_adapters_count_their_own_products(adapter):
    inputs = adapter()
    # One, since without a compiler each cross-attend projects positions again.
    config = {**SIZES, "num_cross_attends": 1, "method": "projected"}
    summary = flops.summarize(inputs, 3, **config)
    model = kp.PerceiverClassifier(kp.PerceiverBackbone(inputs, **config), 3)
    assert summary.total.parameters == model.count_params()
    forward, *_ = measured(model)
    assert summary.parts[0].ours.forward == inputs.flops > 0
    assert summary.total.ours.forward == forward


@pytest.mark.parametrize(
    "changes",
    [
        {"cross_attend_sharing": "none", "latent_block_sharing": "none"},
        {"cross_attend_placement": "start", "latent_block_sharing": [0, 1]},
        {"qk_dim": 6, "v_dim": 4, "cross_qk_dim": "queries"},
    ],
)
def test_parameters_of_all_ways_to_share(changes):
    config = {**SIZES, **changes}
    total = flops.summarize(image(), 5, **config).total
    model = kp.PerceiverClassifier(kp.PerceiverBackbone(image(), **config), 5)
    assert total.parameters == model.count_params()


def test_kept_bytes_follow_dtype_batch_and_dropout():
    def kept(**changes):
        return flops.summarize(image(), 5, **{**SIZES, **changes}).total.ours.kept

    assert kept(dtype="float64") == pytest.approx(2 * kept(), rel=0.01)
    assert kept(dtype="mixed_bfloat16") < kept()
    assert kept(dropout_rate=0.1) > kept()
    assert kept(attention_dropout_rate=0.1) > kept()


def test_wrong_configurations_are_sentences():
    with pytest.raises(ValueError, match="^`config` must be arguments of"):
        flops.summarize(image(), 5, **SIZES, num_heads=2)
    with pytest.raises(ValueError, match="^`config` must have"):
        flops.summarize(image(), 5, num_latents=3)
    with pytest.raises(ValueError, match="`num_heads` must divide"):
        flops.summarize(image(), 5, **{**SIZES, "num_self_heads": 5})
    varying = kp.inputs.ImageInput((None, 5, 3), kp.FourierPositions(3))
    with pytest.raises(ValueError, match="sizes of the adapter must be known"):
        flops.summarize(varying, 5, **SIZES)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_the_parameters_that_it_states(name):
    """Arithmetic; tests/test_models.py builds some, the tests above hold the rest."""
    preset = PRESETS[name]
    config = backbone_config(name, load_weights=False)
    total = flops.summarize(num_classes=preset["num_classes"], **config).total
    assert preset["metadata"]["params"] == total.parameters


def additions_of(adapter):
    """Additions of one product of scores on a grid, in place of products."""
    shapes = flops._shapes(adapter.content_shape)
    several = len(shapes) > 1
    rows = SIZES["num_latents"] * 2 * SIZES["num_cross_attends"]
    count = 0
    for *grid, _ in shapes.values():
        # Each modality adds its padding, which is also a small product.
        count += rows * math.prod(grid) * (2 if len(grid) > 1 else 1)
        count += 2 * several * rows * math.prod(grid)
    return count


def measured(model, training=None):
    """What the graph of a step on one example does.

    Returns:
        FLOPs of the products of the forward pass, those of forward and backward pass,
        and the bytes that go from the one into the other.
    """
    of_forward = set()

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            y = model(x, training=training)
            loss = tf.reduce_sum(y**2)
        of_forward.update(op.name for op in y.graph.get_operations())
        return y, tape.gradient(loss, model.trainable_variables)

    def spec(x):
        return tf.TensorSpec((1, *x.shape[1:]), x.dtype)

    graph = step.get_concrete_function(tf.nest.map_structure(spec, model.input)).graph
    outputs = graph.structured_outputs
    forward, both = (
        ancestors(tf.nest.flatten(tensors)) for tensors in (outputs[0], outputs)
    )
    kept = {}
    for op in both:
        if op.name not in of_forward:
            for x in map(origin, op.inputs):
                is_kept = x.op.name in of_forward and x.dtype.is_floating
                if is_kept and x.op.type not in ("Const", "ReadVariableOp"):
                    kept[x.name] = 4 * math.prod(x.shape)
    return *(sum(map(flops_of, ops)) for ops in (forward, both)), sum(kept.values())


def origin(tensor):
    """The tensor of which another is but a view."""
    while tensor.op.type in (
        "Reshape",
        "Identity",
        "IdentityN",
        "Squeeze",
        "ExpandDims",
    ):
        tensor = tensor.op.inputs[tensor.value_index]
    return tensor


def ancestors(tensors):
    """The operations that tensors come from."""
    found, waiting = {}, [x.op for x in tensors if x is not None]
    while waiting:
        op = waiting.pop()
        if op.name not in found:
            found[op.name] = op
            waiting += [x.op for x in op.inputs]
    return found.values()


def flops_of(op):
    shapes = [x.shape for x in op.inputs]
    if op.type in ("MatMul", "BatchMatMulV2", "BatchMatMulV3"):
        ones = tf.get_static_value(op.inputs[0])
        if shapes[0][-2] == 2 and ones is not None and (ones == 1).all():
            return 0  # A sum, of `column_sums`.
        flag = "transpose_a" if op.type == "MatMul" else "adj_x"
        inner = shapes[0][-2 if op.get_attr(flag) else -1]
        return 2 * inner * math.prod(op.outputs[0].shape)
    if op.type == "Einsum":
        letters = op.get_attr("equation").decode().split("->")[0].split(",")
        sizes = {}
        for own, shape in zip(letters, shapes, strict=True):
            sizes |= dict(zip(own, shape, strict=True))
        return 2 * math.prod(sizes.values()) if len(letters) == 2 else 0
    if op.type == "Conv2D":
        kernel = math.prod(shapes[1][:-1])
        return 2 * kernel * math.prod(op.outputs[0].shape)
    if op.type in ("PartitionedCall", "StatefulPartitionedCall"):
        called = op.graph._get_function(op.get_attr("f").name).graph
        return sum(map(flops_of, ancestors(called.outputs)))
    return 0


def test_script_prints_by_part(capsys):
    import summary

    found = summary.of_preset("perceiver_imagenet_small")
    printed = summary.table(found, 64)
    for part in ("adapter", "latents", "cross-attends x 8", "latent blocks", "decoder"):
        assert f"\n{part}" in printed
    assert f"{PRESETS['perceiver_imagenet_small']['metadata']['params']:,}" in printed
    assert "1,024 inputs of 37 channels, from 12 KiB of input" in printed
    with pytest.raises(ValueError, match="did you mean 'perceiver_imagenet'"):
        summary.of_preset("perceiver_imagnet")


def test_script_reads_configs():
    import summary
    from configs import audio_video, digits, image

    found = summary.of_config(digits.get_config())
    model = kp.PerceiverClassifier(
        kp.PerceiverBackbone(
            kp.inputs.ImageInput((28, 28, 1), kp.FourierPositions(6, 28)),
            **digits.get_config().model,
        ),
        10,
    )
    assert found.total.parameters == model.count_params()

    config = image.get_config()
    with pytest.raises(ValueError, match="unknown without data: give `--config.data"):
        summary.of_config(config, num_classes=5)
    with pytest.raises(ValueError, match="unknown without data: give `--config.data"):
        summary.of_config(audio_video.get_config(), num_classes=5)
    config.data.recipe.image_size = (12, 10)
    config.data.recipe.channels = 3
    with pytest.raises(ValueError, match="number of classes is unknown without data"):
        summary.of_config(config)
    assert summary.of_config(config, num_classes=5).num_inputs == 120
