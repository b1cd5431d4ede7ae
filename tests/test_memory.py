"""Raw video in bounded memory, each way of running it in a process of its own."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
CLIP = (32, 224, 224, 3)  # 1,605,632 inputs of 390 channels: 2.5 GB as an array.

PROGRAM = """
import json, pathlib, sys
import numpy as np, keras
import keras_perceiver as kp

order = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
clip = rng.uniform(-1, 1, (1, *order["clip"])).astype("float32")

def model():
    keras.utils.set_random_seed(0)
    positions = kp.FourierPositions(64, max_resolution=order["clip"][:3])
    backbone = kp.PerceiverBackbone(
        kp.inputs.VideoInput(order["clip"], positions),
        num_latents=512,
        latent_dim=512,
        num_layers_per_block=1,
        attention_dropout_rate=order["dropout"],
    )
    return kp.PerceiverClassifier(backbone, num_classes=2)

if order["what"] == "fit":
    model = model()
    before = [w.copy() for w in model.get_weights()]
    model.compile("sgd", jit_compile=order["jit_compile"])
    history = model.fit(clip, np.zeros(1, "int32"), verbose=0)
    loss = history.history["loss"][0]
    moved = sum(
        bool((a != b).any())
        for a, b in zip(before, model.get_weights(), strict=True)
    )
    result = {"loss": loss, "moved": moved / len(before)}
elif order["what"] == "export":
    model = model()
    model.export(order["folder"], verbose=False)
    result = {}
else:
    import tensorflow as tf

    served = tf.saved_model.load(order["folder"])
    answer = served.signatures["serving_default"](video=tf.constant(clip))
    result = {
        "logits": served.serve(clip).numpy().tolist(),
        "probabilities": answer["probabilities"].numpy().tolist(),
        "label": answer["label"].numpy()[0].decode(),
    }
# Of this program alone: `ru_maxrss` begins with that of the process that started it.
status = pathlib.Path("/proc/self/status").read_text()
result["peak"] = int(status.partition("VmHWM:")[2].split()[0]) * 1024
print(json.dumps(result))
"""


def run(**order):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps({"dropout": 0, **order})],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.large
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dropout", [0, 0.1])
def test_a_training_step_in_fit(jit_compile, dropout):
    done = run(what="fit", clip=CLIP, jit_compile=jit_compile, dropout=dropout)
    assert done["peak"] < 3e9
    assert 0 < done["loss"] < 10
    assert done["moved"] > 0.9


@pytest.mark.large
def test_a_saved_model(tmp_path):
    run(what="export", clip=CLIP, folder=str(tmp_path / "model"))
    size = sum(f.stat().st_size for f in (tmp_path / "model").rglob("*"))
    assert size < 40e6  # No table of positions is in it.
    done = run(what="serve", clip=CLIP, folder=str(tmp_path / "model"))
    assert done["peak"] < 1.5e9
    (logits,), (probabilities,) = done["logits"], done["probabilities"]
    assert len(logits) == 2
    assert sum(probabilities) == pytest.approx(1, abs=1e-6)
    assert done["label"] == str(int(logits[1] > logits[0]))
