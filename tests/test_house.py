"""The shape of the house: imports point one way, and public names have docstrings."""

import ast
import inspect
import pathlib

import keras
import pytest

import keras_perceiver as kp

ROOT = pathlib.Path(__file__).parent.parent
# From the ground up: a module imports from the floors below its own.
FLOORS = [
    ["version", "serialization", "validation", "distribution", "shapes", "gradients"],
    ["initializers", "optimizers", "sums"],
    ["positions", "dropout", "cost", "loops", "recomputation"],
    ["modalities", "byte_array", "streaming"],
    ["masks", "runtimes"],
    ["attention"],
    ["reading"],
    ["blocks"],
    ["cross_attention", "self_attention"],
    ["inputs.base", "inputs.patches"],
    ["inputs.array", "inputs.grid", "inputs.multimodal", "inputs.points"],
    ["inputs.audio", "inputs.image", "inputs.text", "inputs.video"],
    ["inputs"],
    ["encoder", "decoder"],
    ["presets", "exporting"],
    ["models.backbone"],
    ["models.classifier"],
    ["models"],
    ["convert", "flops", "layers", "resizing", "visualize"],
    ["overlays"],
    [""],
]
FLOOR_OF = {module: i for i, modules in enumerate(FLOORS) for module in modules}


def imports(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (ROOT / (whole.replace(".", "/") + ".py")).exists()
                is_package = (ROOT / whole.replace(".", "/")).is_dir()
                yield whole if is_module or is_package else node.module


def modules(package):
    for file in sorted((ROOT / package).rglob("*.py")):
        name = ".".join(file.relative_to(ROOT / package).with_suffix("").parts)
        yield name.removesuffix("__init__").removesuffix("."), file


@pytest.mark.parametrize("name, file", list(modules("keras_perceiver")))
def test_arrows_point_one_way(name, file):
    for imported in imports(file):
        top, _, rest = imported.partition(".")
        if top == "keras_perceiver":
            assert FLOOR_OF[rest] < FLOOR_OF[name], f"{name} imports {rest}"
        # The one loop that Keras cannot express, functions that are not inlined, what
        # mends Keras itself, SavedModels, and what other runtimes ask TensorFlow's
        # converter for.
        of_tensorflow = (
            "loops",
            "recomputation",
            "distribution",
            "exporting",
            "runtimes",
        )
        allowed = ("tensorflow",) if name in of_tensorflow else ()
        others = {"pipelines", "scripts", "tensorflow", "torch", "jax"}
        assert top not in others.difference(allowed)
        is_private = imported.startswith(("keras.src", "keras_hub.src"))
        assert not is_private or name == "distribution"


@pytest.mark.parametrize("name, file", list(modules("pipelines")))
def test_pipelines_import_no_model_code(name, file):
    for imported in imports(file):
        assert imported.partition(".")[0] not in ("keras_perceiver", "keras", "scripts")


def test_public_classes_and_functions_say_what_they_do():
    for owner in (kp, kp.layers, kp.inputs):
        for name, member in vars(owner).items():
            if name.startswith("_") or not callable(member):
                continue
            text = inspect.getdoc(member)
            assert text, name
            if isinstance(member, type) and issubclass(member, keras.layers.Layer):
                assert "Args:" in text, name


def test_registered_names_are_unique_and_ours():
    registered = keras.saving.get_custom_objects()
    own = [name for name in registered if name.startswith("keras_perceiver>")]
    assert len(own) >= 14
    assert "keras_perceiver>CrossAttention" in own
