"""Checks the layers against reference outputs of published code, file by file.

    python scripts/check_golden.py DIR

DIR holds pairs NAME.npz (weights, inputs, outputs) and NAME.json (the call). For each
pair our layers are built from the call, the weights loaded by name, and the largest
absolute difference of the outputs printed with PASS or FAIL. The exit status is 1
where a file fails, or is of no known kind.
"""

import argparse
import json
import pathlib
import sys

import keras
import numpy as np

import keras_perceiver as kp
from keras_perceiver import convert

# Kinds that are known, and that nothing in the package computes yet.
NOT_BUILT = {
    "rearrangements": "patches of images and video",
    "optical_flow": "optical flow",
    "masked_lm": "masked language modelling",
    "multimodal_autoencoding": "multimodal autoencoding",
    "image_classification": "Hugging Face's image classifiers",
    "encoder only": "Hugging Face's encoder",
    "text": "Hugging Face's text models",
}
POSITION_TOLERANCE = 1e-6


# Arguments that change nothing where they have this value.
NEUTRAL = {
    "concat_or_add_pos": "concat",
    "concat_preprocessed_input": False,
    "final_project": True,
    "name": None,
}
# Arguments that change nothing where weights are loaded and nothing is trained.
NEUTRAL_SUFFIXES = ("init_scale", "_w_init", "dropout_prob", "dropout_attn_prob")


class NotBuiltYet(Exception):
    """The file asks for a part that the package does not have yet."""


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="folder of .npz and .json")
    folder = parser.parse_args(argv).folder
    if not folder.is_dir():
        parser.error(f"`folder` must be an existing folder. Received: {folder}")
    files = sorted(folder.glob("*.npz"))
    if not files:
        parser.error(f"`folder` must hold .npz files. Received: {folder}")
    verdicts = [report(file) for file in files]
    passed, failed = verdicts.count("PASS"), verdicts.count("FAIL")
    not_built = verdicts.count("not built yet")
    print(f"{passed} passed, {failed} failed, {not_built} not built yet")
    return 1 if failed else 0


def report(file):
    """Checks one file, prints its line, and returns its verdict."""
    try:
        call = json.loads(file.with_suffix(".json").read_text())
        with np.load(file) as archive:
            arrays = dict(archive)
        differences = check(call, arrays)
    except NotBuiltYet as part:
        print(f"{file.stem:40s} not built yet: {part}")
        return "not built yet"
    # Whatever is wrong with a file, the others are still checked.
    except Exception as error:
        print(f"{file.stem:40s} FAIL  {type(error).__name__}: {error}")
        return "FAIL"
    verdict = "PASS" if differences else "FAIL"
    texts = [] if differences else ["the file compares nothing"]
    for name, (difference, tolerance) in differences.items():
        # A NaN is no PASS either.
        if not difference <= tolerance:
            verdict = "FAIL"
        texts.append(f"{name} {difference:.1e} (tolerance {tolerance:.1e})")
    print(f"{file.stem:40s} {verdict}  {', '.join(texts)}")
    return verdict


def check(call, arrays):
    """Computes one file's outputs.

    Args:
        call: dict, the .json file.
        arrays: dict, the .npz file.

    Returns:
        dict output name -> (largest absolute difference, tolerance).
    """
    kind = call.get("kind")
    if kind is None and "cases" in call:
        return check_positions(call, arrays)
    if kind in NOT_BUILT:
        raise NotBuiltYet(NOT_BUILT[kind])
    if kind not in CHECKS:
        raise ValueError(f"unknown kind {kind!r}, known are {sorted(CHECKS)}")
    # Of a state, such as that of a batch normalization, only averages are used.
    weights = {
        name.removeprefix("state:"): array
        for name, array in arrays.items()
        if "|" in name and (not name.startswith("state:") or name.endswith("|average"))
    }
    inputs = {
        name.removeprefix("in:"): array
        for name, array in arrays.items()
        if name.startswith("in:")
    }
    outputs = CHECKS[kind](call, weights, inputs)
    differences = {}
    for name, tolerance in call["suggested_atol"].items():
        expected = arrays[f"out:{name}"]
        received = keras.ops.convert_to_numpy(outputs[name])
        if received.shape != expected.shape:
            raise ValueError(
                f"{name} has the shape {received.shape}, expected {expected.shape}"
            )
        differences[name] = (float(np.abs(received - expected).max()), tolerance)
    return differences


def check_positions(call, arrays):
    """Fourier features, against the file and against the formula in float64."""
    worst = {"file": (0.0, 1.0), "float64": (0.0, POSITION_TOLERANCE)}
    for case in call["cases"]:
        name = case["case"]
        resolution = case["max_resolution"]
        positions = kp.FourierPositions(
            case["num_bands"],
            resolution or case.get("index_dims"),
            include_positions=case["concat_pos"],
            sine_only=case["sine_only"],
        )
        expected = arrays[f"out:{name}:features"]
        if case["kind"] == "grid":
            shape = case["index_dims"]
            received = positions.grid(shape)
            axes = [np.linspace(-1.0, 1.0, n) for n in shape]
            points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        else:
            points = arrays[f"in:{name}:pos"]
            shape = points.shape[:-1]
            received = positions(points)
        exact = fourier_features(
            points.astype("float64"),
            case["num_bands"],
            resolution or case.get("index_dims", shape),
            case["concat_pos"],
            case["sine_only"],
        )
        received = keras.ops.convert_to_numpy(received).reshape(expected.shape)
        exact = exact.reshape(expected.shape)
        # The file was computed in float32, and is off by this much itself.
        own_error = case["max_diff_vs_exact_float64_formula"]
        difference = float(np.abs(received - expected).max())
        allowed = own_error + POSITION_TOLERANCE
        if not difference / allowed <= worst["file"][0] / worst["file"][1]:
            worst["file"] = (difference, allowed)
        difference = float(np.abs(received - exact).max())
        if not difference <= worst["float64"][0]:
            worst["float64"] = (difference, POSITION_TOLERANCE)
    return worst if call["cases"] else {}


def fourier_features(points, num_bands, resolutions, include_positions, sine_only):
    """The published formula in float64, `(..., d)` -> `(..., P)`."""
    angles = [
        np.pi * points[..., axis, None] * np.linspace(1.0, resolution / 2.0, num_bands)
        for axis, resolution in enumerate(resolutions)
    ]
    angles = np.concatenate(angles, axis=-1)
    features = [points] if include_positions else []
    features.append(np.sin(angles))
    if not sine_only:
        features.append(np.cos(angles))
    return np.concatenate(features, axis=-1)


def check_cross_attention(call, weights, inputs):
    args = dict(call["args"])
    layer = kp.layers.CrossAttention(
        num_heads=args.pop("num_heads"),
        qk_dim=width_of(args),
        v_dim=args.pop("v_channels", None),
        widening_factor=args.pop("widening_factor", 1),
        use_query_residual=args.pop("use_query_residual", True),
    )
    refuse_rest(args, "cross-attention")
    queries, keys = inputs["inputs_q"], inputs["inputs_kv"]
    layer.build(queries.shape, keys.shape)
    load(layer, "cross_attention", weights)
    return {"y": layer(queries, keys, attention_mask=mask_in(inputs))}


def check_self_attention(call, weights, inputs):
    args = dict(call["args"])
    layer = kp.layers.SelfAttention(
        num_heads=args.pop("num_heads"),
        qk_dim=args.pop("qk_channels", None),
        v_dim=args.pop("v_channels", None),
        widening_factor=args.pop("widening_factor", 4),
    )
    refuse_rest(args, "self-attention")
    layer.build(inputs["inputs"].shape)
    load(layer, "self_attention", weights)
    return {"y": layer(inputs["inputs"], attention_mask=mask_in(inputs))}


def check_preprocessor(call, weights, inputs):
    layer = adapter(["ImagePreprocessor", call["args"]], inputs)
    layer.build(inputs["inputs"].shape)
    convert.assign(convert.haiku_variables(layer, "image_preprocessor"), weights)
    content = layer(inputs["inputs"])
    shape = (content.shape[0], -1, content.shape[-1])
    reading = kp.layers.CrossAttention(positions=layer.grid_positions)
    return {
        "tokens": reading.dense(content),
        "without_pos": keras.ops.reshape(content, shape),
    }


def check_perceiver_io(call, weights, inputs):
    encoder = dict(call["encoder"])
    width = attention_width(encoder.pop("cross_attention_shape_for_attn", "kv"))
    qk_dim = encoder.pop("qk_channels", None)
    backbone = kp.PerceiverBackbone(
        inputs=adapter(call.get("preprocessor"), inputs),
        num_latents=encoder.pop("z_index_dim", 512),
        latent_dim=encoder.pop("num_z_channels", 1024),
        num_cross_attends=1,
        num_latent_blocks=encoder.pop("num_blocks", 8),
        num_layers_per_block=encoder.pop("num_self_attends_per_block", 6),
        num_cross_heads=encoder.pop("num_cross_attend_heads", 1),
        num_self_heads=encoder.pop("num_self_attend_heads", 8),
        qk_dim=qk_dim,
        cross_qk_dim=qk_dim or width,
        v_dim=encoder.pop("v_channels", None),
        cross_widening_factor=encoder.pop("cross_attend_widening_factor", 1),
        self_widening_factor=encoder.pop("self_attend_widening_factor", 1),
        use_query_residual=encoder.pop("use_query_residual", True),
    )
    refuse_rest(encoder, "the encoder")

    args = dict(call["decoder"])
    if args.pop("position_encoding_type", "trainable") != "trainable":
        raise NotBuiltYet("decoder queries from positions")
    is_classifier = call["decoder_class"] == "ClassificationDecoder"
    trainable = args.pop("trainable_position_encoding_kwargs", {})
    num_queries = int(np.prod(args.pop("output_index_dims", [1])))
    num_outputs = args.pop("output_num_channels", call.get("num_classes"))
    args.pop("num_z_channels", None)  # Not read where queries are trainable.
    decoder = kp.layers.QueryDecoder(
        num_queries=num_queries,
        query_dim=trainable.get("num_channels", 128),
        num_heads=args.pop("num_heads", 1),
        qk_dim=args.pop("qk_channels", None) or "inputs",
        v_dim=args.pop("v_channels", None),
        use_query_residual=args.pop("use_query_residual", False),
    )
    refuse_rest(args, "the decoder")

    path = (
        "classification_decoder/~/basic_decoder" if is_classifier else "basic_decoder"
    )
    if is_classifier:
        model = kp.PerceiverClassifier(backbone, num_outputs, decoder=decoder)
        output = model.output_layer
    else:
        output = keras.layers.Dense(num_outputs)
        decoded = decoder(backbone.output)
        output.build(decoded.shape)
    variables = {
        **encoder_variables(backbone),
        **convert.haiku_variables(decoder, path),
        **convert.haiku_variables(output, f"{path}/output"),
    }
    convert.assign(variables, weights)
    fed = model_inputs(backbone, inputs)
    if is_classifier:
        return {"logits": model(fed)}
    decoded = decoder(backbone(fed), queries_mask=inputs.get("query_mask"))
    return {"y": output(decoded)}


def encoder_variables(backbone):
    path = "perceiver_encoder/~"
    return {
        **convert.haiku_variables(
            backbone.latent_array, f"{path}/trainable_position_encoding"
        ),
        **convert.haiku_variables(backbone.cross_attends[0], f"{path}/cross_attention"),
        **convert.haiku_variables(backbone.latent_blocks[0], path),
    }


# Sharing in the files -> ours, and the names of the sets of weights in the files.
SHARED = ("first", "shared")
SHARING = {
    "icml": ("all_but_first", "all"),
    "first_unshared": ("all_but_first", "all_but_first"),
    "none": ("none", "none"),
    "all": ("all", "all"),
}


PERCEIVER_KEYS = {
    *("name", "source", "seed", "kind", "call", "note", "latent_scale", "qa"),
    *("in_shapes", "out_shapes", "mid_shapes", "weight_shapes", "out_std", "n_params"),
    *("suggested_atol", "preprocessor", "num_classes", "sharing", "shape_for_attn"),
    *("n_cross_attends", "blocks_per_cross_attend", "num_latents", "latent_channels"),
    *("cross_heads", "self_heads", "cross_widening", "self_widening", "final_norm"),
}


def check_perceiver(call, weights, inputs):
    rest = {name: value for name, value in call.items() if name not in PERCEIVER_KEYS}
    refuse_rest(rest, "the Perceiver")
    num_cross_attends = call["n_cross_attends"]
    cross_sharing, block_sharing = SHARING[call["sharing"]]
    backbone = kp.PerceiverBackbone(
        inputs=adapter(call.get("preprocessor"), inputs),
        num_latents=call["num_latents"],
        latent_dim=call["latent_channels"],
        num_cross_attends=num_cross_attends,
        num_latent_blocks=num_cross_attends,
        num_layers_per_block=call["blocks_per_cross_attend"],
        num_cross_heads=call["cross_heads"],
        num_self_heads=call["self_heads"],
        cross_attend_sharing=cross_sharing,
        latent_block_sharing=block_sharing,
        cross_qk_dim=attention_width(call.get("shape_for_attn", "kv")),
        cross_widening_factor=call["cross_widening"],
        self_widening_factor=call["self_widening"],
    )
    decoder = kp.layers.AverageDecoder(use_norm=bool(call.get("final_norm")))
    model = kp.PerceiverClassifier(backbone, call["num_classes"], decoder=decoder)

    variables = convert.haiku_variables(backbone.latent_array, "latents")
    names = set_names(cross_sharing, len(backbone.cross_attends))
    for name, layer in zip(names, backbone.cross_attends, strict=True):
        variables |= convert.haiku_variables(layer, f"cross_attend_{name}")
    names = set_names(block_sharing, len(backbone.latent_blocks))
    for name, block in zip(names, backbone.latent_blocks, strict=True):
        for j, layer in enumerate(block.layers):
            variables |= convert.haiku_variables(layer, f"latent_{name}_block_{j}")
    if decoder.use_norm:
        variables |= convert.haiku_variables(decoder.norm, "final_norm")
    variables |= convert.haiku_variables(
        model.output_layer, "projection_decoder/~/logits"
    )
    convert.assign(variables, weights)
    fed = model_inputs(backbone, inputs)
    return {"latents": backbone(fed), "logits": model(fed)}


def set_names(sharing, num_sets):
    """How the files call the sets of weights that a sharing pattern makes."""
    if sharing == "none":
        return [str(i) for i in range(num_sets)]
    return ["shared"] if sharing == "all" else list(SHARED[:num_sets])


def adapter(preprocessor, inputs):
    """The adapter that does what the file's preprocessor does."""
    shape = inputs["inputs"].shape[1:]
    if preprocessor is None:
        return kp.inputs.ArrayInput(shape, use_mask="input_mask" in inputs)
    _, args = preprocessor
    args = dict(args)
    kind = args.pop("prep_type", "conv")
    in_space = args.pop("spatial_downsample", 4)
    in_time = args.pop("temporal_downsample", 1)
    strides = {"conv": (4, 1), "patches": (in_space, in_time)}.get(kind, (1, 1))
    if (in_space, in_time) != strides:
        raise NotBuiltYet(f"{kind} with strides {in_space, in_time}")
    num_features = args.pop("num_channels", 64)
    has_projection = kind == "conv1x1" or args.pop("conv_after_patching", False)
    positions = positions_of(args, shape)
    refuse_rest(args, "the preprocessor")
    use_mask = "input_mask" in inputs
    if kind == "conv":
        return kp.inputs.ConvImageInput(shape, positions, num_features, use_mask)
    patch_size = None
    if kind == "patches":
        patch_size = (in_time, in_space, in_space)[4 - len(shape) :]
    return kp.inputs.GridInput(
        shape,
        positions,
        patch_size=patch_size,
        projection_dim=num_features if has_projection else None,
        use_mask=use_mask,
    )


def positions_of(args, shape):
    """The positions that the arguments of a preprocessor ask for; takes them out."""
    fourier = args.pop("fourier_position_encoding_kwargs", None)
    learned = args.pop("trainable_position_encoding_kwargs", None)
    projection_dim = args.pop("project_pos_dim", -1)
    projection_dim = None if projection_dim == -1 else projection_dim
    if args.pop("position_encoding_type", "fourier") == "trainable":
        return kp.LearnedPositions(
            shape[:-1], learned["num_channels"], projection_dim=projection_dim
        )
    if projection_dim is not None:
        raise NotBuiltYet("projected Fourier features")
    return kp.FourierPositions(
        fourier["num_bands"],
        fourier.get("max_resolution"),
        include_positions=fourier.get("concat_pos", True),
        sine_only=fourier.get("sine_only", False),
    )


def model_inputs(backbone, inputs):
    if "input_mask" not in inputs:
        return inputs["inputs"]
    name = backbone.adapter.input_name
    mask = inputs["input_mask"].astype(bool)
    mask = mask.reshape(inputs["inputs"].shape[:-1])
    return {name: inputs["inputs"], f"{name}_mask": mask}


def mask_in(inputs):
    mask = inputs.get("attention_mask")
    return None if mask is None else mask.astype(bool)


def width_of(args):
    width = attention_width(args.pop("shape_for_attn", "kv"))
    return args.pop("qk_channels", None) or width


def attention_width(shape_for_attention):
    return {"kv": "inputs", "q": "queries"}[shape_for_attention]


def refuse_rest(args, what):
    """Raises where the call holds an argument that changes something unknown."""
    rest = {
        name: value
        for name, value in args.items()
        if value is not None
        and not name.endswith(NEUTRAL_SUFFIXES)
        and (name not in NEUTRAL or value != NEUTRAL[name])
    }
    if rest:
        raise NotBuiltYet(f"{what} with {rest}")


def load(layer, path, weights):
    convert.assign(convert.haiku_variables(layer, path), weights)


CHECKS = {
    "preprocessor": check_preprocessor,
    "cross_attention_block": check_cross_attention,
    "self_attention_block": check_self_attention,
    "perceiver_io": check_perceiver_io,
    "perceiver_v1": check_perceiver,
}

if __name__ == "__main__":
    sys.exit(main())
