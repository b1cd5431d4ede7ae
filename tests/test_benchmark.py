"""The benchmark at tiny sizes: that it measures and reports, not how long it takes."""

import contextlib
import functools
import io
import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import benchmark
import keras_perceiver as kp
from benchmarks import measuring
from benchmarks.contestants import check_outputs, difference_to, is_installed
from benchmarks.cross_attention import command, report
from benchmarks.cross_attention.contestants import CONTESTANTS, MATMUL_SIZE, make_ours
from benchmarks.cross_attention.task import CASES, REFERENCE, Case, Setting, make_task
from benchmarks.measuring import measure_rates, measure_times
from benchmarks.models import report as models_report
from benchmarks.models.cases import MODELS
from benchmarks.models.contestants import chains_of_products, multiplications
from benchmarks.models.task import Setting as Sizes
from benchmarks.pipelines import command as pipelines_command
from benchmarks.pipelines import decoding, files, throughput
from benchmarks.pipelines import report as pipelines_report
from benchmarks.pipelines.cases import CASES as PIPELINES
from benchmarks.pipelines.cases import Case as Pipeline
from benchmarks.serving import command as serving_command
from benchmarks.serving import processes, worker
from benchmarks.serving import report as serving_report
from benchmarks.serving.contestants import CONTESTANTS as SERVERS
from benchmarks.serving.task import Task as Serving
from benchmarks.serving.task import random_input
from benchmarks.train_step import command as train_step_command
from benchmarks.train_step import report as train_step_report
from benchmarks.train_step.contestants import CONTESTANTS as TRAINED
from benchmarks.train_step.contestants import OURS
from benchmarks.train_step.task import LARGE, SMALL
from benchmarks.train_step.task import Task as TrainStep
from keras_perceiver.presets import PRESETS
from pipelines.text import TextRecipe

CASE = Case("image", (4, 5), 3)
SETTING = Setting(latents=3, latent_dim=8, bands=2, chunk_bytes=160)
TINY = ["--rounds=2", "--latents=3", "--latent-dim=8", "--bands=2"]
NAMES = ["grid", "dense", "softmax", "torch-sdpa"]


SIZES = Sizes(
    image_size=4, latents=3, latent_dim=8, bands=2, heads=2, iterations=3, layers=2
)


def installed(name):
    return is_installed(CONTESTANTS[name].package)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The files and the output of a run, which measures the memory of `grid` itself."""
    file = tmp_path_factory.mktemp("benchmark") / "new" / "cross.json"
    flags = [*TINY, *(f"--only={name}" for name in NAMES), "--max-inputs=1024"]
    output = io.StringIO()

    def peak_memory_of_grid(name, case, setting, quantities):
        if name == "grid":
            return measure_peak_memory(name, case, setting, quantities)
        return dict.fromkeys(quantities)

    # A process for one of them: each takes longer than all else.
    measure_peak_memory = command.measure_peak_memory
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr(command, "measure_peak_memory", peak_memory_of_grid)
        benchmark.main(["cross_attention", f"--json={file}", *flags])
    return file, output.getvalue()


def test_json_holds_times_memory_versions_and_machine(run):
    written = json.loads(run[0].read_text())
    assert written["settings"]["latents"] == 3
    assert written["versions"]["tensorflow"]
    assert written["machine"]["cores"] >= 1
    results = {result["contestant"]: result for result in written["results"]}
    assert list(results) == [name for name in NAMES if installed(name)]
    grid = results["grid"]
    assert (grid["input"], grid["num_inputs"]) == ("image 32 x 32", 1024)
    assert grid["channels"] == 3 + 2 * 5
    assert [len(grid["seconds"][q]) for q in ("forward", "training")] == [2, 2]
    assert set(results["softmax"]["seconds"]) == {"forward"}
    assert results["softmax"]["difference"] is None
    assert results["dense"]["difference"] < 1e-5
    for peak in grid["peak_bytes"].values():
        assert peak is None or 0 <= peak < 2**30
    assert set(grid["peak_bytes"]) == {"forward", "training"}


def test_table_and_plot_stand_beside_the_json(run):
    table = run[0].with_suffix(".md").read_text()
    assert "| image 32 x 32 | 1,024 | 13 | grid |" in table
    assert "3 latents of 8" in table
    with Image.open(run[0].with_suffix(".png")) as plot:
        assert plot.width > 400


@pytest.mark.skipif(installed("torch-sdpa"), reason="the package is installed")
def test_what_is_not_installed_is_said(run):
    assert "torch-sdpa is left out: the package torch is not installed." in run[1]


@pytest.mark.parametrize(
    "name", [n for n, c in CONTESTANTS.items() if not c.is_reference]
)
def test_all_compute_one_function(name):
    if not installed(name):
        pytest.skip(f"{name} is not installed")
    task = make_task(CASE, SETTING)
    ours = make_ours(task, "grid", jit_compile=False)
    runner = CONTESTANTS[name].make(task)
    output = runner.forward()
    assert output.shape == (1, 3, 8)
    assert difference_to(ours.forward(), output, task.latents) < 1e-5
    gradients = runner.training()
    # One kernel for keys and values, and no biases of projections but the last.
    assert len(gradients) == (9 if name == "perceiver-pytorch" else 13)
    np.testing.assert_allclose(gradients[0], ours.training()[0], atol=1e-5)


def test_the_byte_array_is_that_of_the_layer():
    task = make_task(CASE, SETTING)
    layer = kp.layers.CrossAttention(positions=task.positions)
    np.testing.assert_allclose(task.byte_array, layer.dense(task.content), atol=1e-6)


def test_who_computes_something_else_is_left_out(capsys):
    task = make_task(CASE, SETTING)
    output = CONTESTANTS["grid"].make(task).forward()
    runs = {
        "grid": {"forward": lambda: output},
        "dense": {"forward": lambda: output + 1},
        "projected": {"forward": lambda: output * np.nan},
        "softmax": {"forward": lambda: 0.0},
    }
    differences = check_outputs(CONTESTANTS, runs, output, residual=task.latents)
    assert list(differences) == ["grid", "softmax"]
    said = capsys.readouterr().out
    assert "dense is left out" in said
    assert "projected is left out" in said


def test_what_needs_too_much_memory_is_said(capsys):
    case, setting = CASES[-1], Setting(512, 1024, 64, 2**22)
    assert command.affordable("projected", case, setting, 12) == []
    assert command.affordable("grid", case, setting, 12) == ["forward", "training"]
    assert "projected: forward is skipped" in capsys.readouterr().out


def test_turns():
    calls = []
    runners = {
        name: {"forward": lambda name=name: calls.append(name)} for name in ("a", "b")
    }
    seconds = measure_times(runners, rounds=2, max_seconds=60)
    assert calls == ["a", "b", "a", "b", "a", "b"]  # The first two do not count.
    assert [len(times) for times in seconds.values()] == [2, 2]
    # A first call that uses up the time is the one measurement.
    seconds = measure_times(runners, rounds=2, max_seconds=1e-12)
    assert [len(times) for times in seconds.values()] == [1, 1]


def test_runs_in_a_row(monkeypatch):
    now, durations = [0.0], iter([5.0, 1.0, 2.0, 3.0, 40.0])

    def run():
        now[0] += next(durations)

    clock = types.SimpleNamespace(perf_counter=lambda: now[0], sleep=lambda _: None)
    monkeypatch.setattr(measuring, "time", clock)
    # The first does not count, and the last is the one that ends after the time.
    assert measuring.timed_in_a_row(run, at_least=6.0) == 2.0
    # A first run that takes as long is the one measurement.
    assert measuring.timed_in_a_row(run, at_least=6.0) == 40.0
    assert next(durations, None) is None


def result(name, case, forward, training=None):
    medians = {"forward": forward, "training": training}
    return {
        "input": case.name,
        "kind": case.kind,
        "num_inputs": case.num_inputs,
        "contestant": name,
        "median_seconds": {q: s for q, s in medians.items() if s is not None},
    }


def test_statements():
    results = [
        result("grid", REFERENCE, 0.1, 0.2),
        result("projected", REFERENCE, 0.8, 1.2),
        result("softmax", REFERENCE, 0.05),
        result("matmul", REFERENCE, 2 * MATMUL_SIZE**3 / 1e11),
    ]
    said = "\n".join(report.statements(results, SETTING))
    assert "forward, grid to softmax: 2.00 (100 ms to 50 ms)" in said
    assert "forward, projected to grid: 8.00 (800 ms to 100 ms)" in said
    assert "forward + backward, projected to grid: 6.00 (1,200 ms to 200 ms)" in said
    assert "large matrices: 100 GFLOP/s" in said
    assert "torch" not in said
    assert report.statements([], SETTING) == []


def test_slope():
    def slope(power):
        cases = [case for case in CASES if case.kind == "video"]
        results = [result("grid", c, 1e-9 * c.num_inputs**power) for c in cases]
        # Too small to count: there the time is that of other things.
        small = result("grid", Case("video", (2, 2, 2), 3), 1.0)
        return report.slope([small, *results], "video", "grid", "forward")

    assert slope(1.0) == pytest.approx(1.0)
    assert slope(1.2) == pytest.approx(1.2)
    assert report.slope([], "video", "grid", "forward") is None


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--rounds=0", "must be above zero"),
        ("--max-inputs=10", "`--max-inputs` must be at least 1,024"),
        ("--only=nobody", "invalid choice"),
    ],
)
def test_bad_flags(flag, message, tmp_path, capsys):
    file = tmp_path / "x.json"
    with pytest.raises(SystemExit):
        benchmark.main(["cross_attention", f"--json={file}", *TINY, flag])
    assert message in capsys.readouterr().err


# === Whole models ===


make_model_task = functools.cache(lambda name: MODELS[name].make_task(SIZES))


@pytest.mark.parametrize(
    "model, name", [(m, n) for m in MODELS for n in MODELS[m].contestants]
)
def test_all_run_one_model(model, name):
    contestant = MODELS[model].contestants[name]
    if not is_installed(contestant.package):
        pytest.skip(f"the package {contestant.package} is not installed")
    task = make_model_task(model)
    runner = contestant.make(task)
    assert runner.training is None
    output = runner.forward()
    if not contestant.is_reference:
        expected = keras.ops.convert_to_numpy(task.model(task.inputs))
        assert output.shape == expected.shape == (1, 3, 8)
        assert difference_to(expected, output) < 1e-5


def test_the_cross_attends_of_the_perceiver_share_weights_but_the_first():
    task = make_model_task("perceiver")
    prefixes = {path.rsplit(".", 3)[0] for path in task.weights if "query.k" in path}
    assert prefixes == {
        *("cross_attends.0", "cross_attends.1"),
        *("latent_blocks.0.layers.0", "latent_blocks.0.layers.1"),
    }
    of_layers = sum(weight.size for weight in task.weights.values())
    assert of_layers + task.latents.size == task.model.count_params()


def test_products_are_those_of_a_latent_block():
    counted = 0
    for chain in chains_of_products(SIZES):
        (first, _), *factors = chain
        *heads, rows, inner = first
        for (*_, own_inner, columns), _ in factors:
            assert own_inner == inner
            counted += int(np.prod(heads)) * rows * inner * columns
            inner = columns
    # By hand: 6 kernels of 8 x 8 for 3 latents; 3 x 3 scores of 8 channels, and back.
    assert counted == 2 * (6 * 3 * 8 * 8 + 2 * 3 * 3 * 8) == multiplications(SIZES)


def test_models_are_reported(tmp_path, capsys):
    file = tmp_path / "models.json"
    flags = ["--image-size=4", "--latents=3", "--latent-dim=8", "--bands=2"]
    flags += ["--heads=2", "--iterations=1", "--layers=1", "--rounds=2"]
    benchmark.main(["models", f"--json={file}", "--only=latent-block", *flags])
    results = {
        result["contestant"]: result
        for result in json.loads(file.read_text())["results"]
    }
    said = capsys.readouterr().out
    for contestant, own in MODELS["latent-block"].contestants.items():
        if is_installed(own.package):
            assert len(results[contestant]["seconds"]["forward"]) == 2
        else:
            assert contestant not in results
            assert f"{contestant} is left out: the package {own.package}" in said
    table = file.with_suffix(".md").read_text()
    assert "3 latents of 8, 1 iterations of 1 layers of 2 heads" in table
    assert "| Latent block | ours-xla |" in table
    assert "- ours to products: " in table


def test_ratios_and_aims():
    name = MODELS["perceiver"].name
    seconds = {"ours": 2.0, "ours-xla": 1.0, "torch-sdpa": 3.0}
    results = [
        {"input": name, "contestant": n, "median_seconds": {"forward": s}}
        for n, s in seconds.items()
    ]
    said = models_report.statements(results, SIZES)
    assert said == [
        f"{name}:",
        "- torch-sdpa to ours: 1.50 (3,000 ms to 2,000 ms); aim: at least 1.7, missed",
        "- torch-sdpa to ours-xla: 3.00 (3,000 ms to 1,000 ms); aim: at least 1.7, met",
    ]
    # The fastest of the products counts.
    times = {"ours": 0.3, "products": 0.3, "products-torch": 0.2}
    ratio = MODELS["latent-block"].ratios[0]
    assert models_report.sentence(ratio, times) == (
        "- ours to products-torch: 1.50 (300 ms to 200 ms); aim: at most 1.2, missed"
    )
    assert models_report.sentence(ratio, {"ours": 0.3}) is None
    assert models_report.statements([], SIZES) == []


def test_heads_that_do_not_divide_are_said(tmp_path, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["models", f"--json={tmp_path / 'x.json'}", "--heads=3"])
    assert "`--heads` must divide `--latent-dim`" in capsys.readouterr().err


# === Training steps ===


@pytest.fixture
def few_layers(monkeypatch):
    """The preset of these tests with one layer a block, which is traced sooner."""
    preset = PRESETS["perceiver_modelnet40_small"]["backbone"]
    monkeypatch.setitem(preset, "num_layers_per_block", 1)


@functools.cache
def losses_of(name, model):
    """The output of a contestant, and its mean loss after each of three steps."""
    runner = TRAINED[name].make(TrainStep(model, 2))
    output, losses = runner.forward(), [runner.training() for _ in range(3)]
    if name not in OURS:  # Keras has the mean of all steps itself.
        losses = np.cumsum(losses) / np.arange(1, 4)
    return output, losses


# What recomputes is in `test_recomputation.py`.
@pytest.mark.parametrize("name", [n for n in TRAINED if "recompute" not in n])
def test_all_take_the_same_steps(name, few_layers):
    if not is_installed(TRAINED[name].package):
        pytest.skip(f"the package {TRAINED[name].package} is not installed")
    model = "perceiver_modelnet40_small"
    output, losses = losses_of(name, model)
    expected, expected_losses = losses_of("ours", model)
    assert output.shape == (2, 10)
    assert difference_to(expected, output) < 1e-5
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-3)
    assert losses[2] < losses[0]


@pytest.mark.skipif(
    not is_installed("transformers"), reason="transformers is not installed"
)
@pytest.mark.parametrize("model", SMALL)
def test_hugging_face_is_the_same_model(model):
    task = TrainStep(model, 2)
    expected = keras.ops.convert_to_numpy(task.model(task.inputs, training=False))
    output = TRAINED["hugging-face"].make(task).forward()
    assert difference_to(expected, output) < 1e-5


@pytest.mark.parametrize("model", [*SMALL, LARGE])
def test_what_is_trained_is_the_preset(model):
    task = TrainStep(model, 2, same_weights=False)
    assert task.byte_array.shape == (2, task.adapter.num_inputs, task.adapter.channels)
    reads = [i for kind, i in task.steps if kind == "cross_attend"]
    assert len(reads) == task.config["num_cross_attends"]
    assert max(reads) + 1 == task.num_weights["cross_attend"]
    assert task.labels.max() < task.num_classes


def test_training_steps_are_reported(tmp_path, capsys, few_layers):
    file = tmp_path / "steps.json"
    flags = ["--rounds=2", "--batch-size=2", "--skip-memory", "--only=ours"]
    flags += ["--only=hugging-face", "--model=perceiver_modelnet40_small"]
    benchmark.main(["train_step", f"--json={file}", *flags])
    results = {r["contestant"]: r for r in json.loads(file.read_text())["results"]}
    assert len(results["ours"]["seconds"]["training"]) == 2
    assert results["ours"]["batch_size"] == 2
    table = file.with_suffix(".md").read_text()
    assert "| perceiver_modelnet40_small | 2 | ours |" in table
    is_there = is_installed("transformers")
    assert ("- ours takes" in capsys.readouterr().out) == is_there
    assert ("| hugging-face |" in table) == is_there


def test_peak_memory_of_a_step(capsys, few_layers):
    train_step_command.peak_memory("ours", "perceiver_modelnet40_small", 2)
    peaks = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(peaks) == {"first", "training"}
    assert all(peak is None or 0 <= peak < 2**31 for peak in peaks.values())


def test_steps_and_aims():
    def of(name, seconds, peak):
        return {
            "input": LARGE,
            "contestant": name,
            "median_seconds": {"training": seconds},
            "peak_bytes": {"training": peak},
        }

    results = [of("ours", 2.0, 3e9), of("hugging-face", 3.0, 4e9)]
    assert train_step_report.statements(results) == [
        f"{LARGE}:",
        "- ours takes 0.50 steps/s, hugging-face 0.33: 1.50 times as fast (aim: at "
        "least 1.3, met); peak memory 0.75 of the other's (aim: at most 0.5, missed)",
    ]
    assert train_step_report.statements(results[:1]) == []
    assert list(OURS)[:2] == ["ours", "ours-xla"]


# === Pipelines ===


class Mean(keras.Model):
    """Stands in for the models of the configs, which take long to trace."""

    def __init__(self, num_classes):
        super().__init__()
        self.head = keras.layers.Dense(num_classes)

    def call(self, inputs):
        means = [
            keras.ops.mean(keras.ops.cast(x, "float32"), axis=range(1, x.ndim))
            for x in keras.tree.flatten(inputs)
        ]
        return self.head(keras.ops.stack(means, axis=-1))


def make_mean(recipe, config, num_classes):
    model = Mean(num_classes)
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    return model


def small_batches(case, get_config=Pipeline.get_config):
    config = get_config(case)
    config.batch_size = 4
    return config


@pytest.fixture(scope="module")
def pipelines_run(tmp_path_factory):
    """The files of a run of all modalities."""
    file = tmp_path_factory.mktemp("pipelines") / "new" / "pipelines.json"
    flags = ["--quick", "--files=8", "--seconds=0.001"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throughput, "make_model", make_mean)
        patch.setattr(Pipeline, "get_config", small_batches)
        benchmark.main(["pipelines", f"--json={file}", *flags])
    return file


def test_all_pipelines_are_measured(pipelines_run):
    written = json.loads(pipelines_run.read_text())
    assert written["settings"] == {"files": 8, "rounds": 1, "seconds": 0.001}
    results = {result["input"]: result for result in written["results"]}
    assert list(results) == list(PIPELINES)
    for name, result in results.items():
        is_cached = PIPELINES[name].get_config().data.cache
        quantities = ["files", *["cached"] * is_cached, "model", "together"]
        assert list(result["rates"]) == quantities
        assert all(len(rates) == 1 for rates in result["rates"].values())
        assert min(result["median_rates"].values()) > 0
    assert results["image"]["made"] == "images of 48 x 48 x 3"
    assert "clouds of 1,024 points" in results["points"]["made"]
    assert "sounds of 8,000 samples at 8 kHz" in results["audio_raw"]["made"]


def test_both_decoders_make_the_same_images(pipelines_run):
    compared = json.loads(pipelines_run.read_text())["decoding"]
    pairs = [f"{f}, {fit}" for f in decoding.FORMATS for fit in decoding.FITS]
    assert [result["input"] for result in compared] == pairs
    for result in compared:
        # Half a level is the rounding of ours.
        of_decoder = 1.0 if result["input"].startswith("JPEG") else 0.0
        assert 0 < result["differences"]["mean"] < 0.5 + of_decoder
        assert result["differences"]["largest"] < 0.51 + 11 * of_decoder


def test_the_table_has_all_pipelines(pipelines_run):
    table = pipelines_run.with_suffix(".md").read_text()
    for name, case in PIPELINES.items():
        assert f"| {name} | {case.files} |" in table
        assert f"- {name}: the bottleneck is the " in table
    for file_format in decoding.FORMATS:
        for fit in decoding.FITS:
            assert f"| {file_format}, {fit} |" in table


def test_some_pipelines_without_a_file(monkeypatch, capsys):
    def measure_case(name, folders, args):
        rates = {"files": 30.0, "model": 10.0}
        return {"input": name, "files": "SOME", "median_rates": rates}

    monkeypatch.setattr(pipelines_command, "measure_case", measure_case)
    benchmark.main(["pipelines", "--modalities", "audio", "text", "audio_raw"])
    said = capsys.readouterr().out
    for name in ("audio_mel", "audio_raw", "text"):
        assert said.count(f"| {name} | SOME | 30 | - | 10 | - | model, 3.00 |") == 1
    assert "points" not in said


def test_the_model_is_that_of_the_config():
    config = PIPELINES["text"].get_config()
    config.jit_compile = False
    config.model.update(num_latents=2, latent_dim=4, num_layers_per_block=1)
    config.model.update(num_cross_attends=1, num_latent_blocks=1, num_self_heads=1)
    model = throughput.make_model(TextRecipe(length=16), config, num_classes=3)
    assert isinstance(model, kp.PerceiverClassifier)
    assert model.backbone.num_latents == 2
    batch = np.full((4, 16), 7), np.array([0, 1, 2, 0])
    before = [np.array(weight) for weight in model.trainable_weights]
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    model.fit(dataset, steps_per_epoch=1, shuffle=False, verbose=0)
    assert next(throughput.train(model, dataset)) == 4
    after = [np.array(weight) for weight in model.trainable_weights]
    changed = [np.any(a != b) for a, b in zip(before, after, strict=True)]
    assert sum(changed) > len(changed) / 2


def test_decoders_of_other_images_are_refused(tmp_path):
    files.write_pngs(tmp_path, 4)
    whole, box = (
        decoding.make_datasets(tmp_path, decoding.FITS[fit], batch_size=4)
        for fit in ("whole image", "random box")
    )
    mixed = {"ours": whole["ours"], "keras": box["keras"]}
    with pytest.raises(ValueError, match="must make the same images"):
        decoding.differences(mixed)


def test_turns_of_rates():
    calls = []

    def start(name, size):
        calls.append(name)
        while True:
            yield size

    starts = {n: functools.partial(start, n, i) for i, n in enumerate("abc")}
    rates = measure_rates(starts, rounds=2, seconds=1e-4)
    assert calls == [*"abc", *"abc"]
    assert rates["a"] == [0, 0]
    assert len(rates["b"]) == len(rates["c"]) == 2
    assert min(rates["b"] + rates["c"]) > 0


def test_bottlenecks_and_aims():
    results = [
        {"input": "a", "median_rates": {"files": 30.0, "model": 10.0}},
        {"input": "b", "median_rates": {"files": 10.0, "model": 15.0}},
    ]
    compared = [{"input": "JPEG", "median_rates": {"ours": 1100.0, "keras": 1000.0}}]
    said = pipelines_report.statements({"results": results, "decoding": compared})
    assert said == [
        "- a: the bottleneck is the model; the pipeline is 3.00 times as fast",
        "- b: the bottleneck is the pipeline; the model is 1.50 times as fast",
        "- JPEG: ours to image_dataset_from_directory 1.10 (1,100 to 1,000 items/s); "
        "aim: at least 1, met",
    ]


def test_packages_of_files_that_are_missing_are_said(monkeypatch, capsys):
    monkeypatch.setattr(pipelines_command, "is_installed", lambda package: False)
    with pytest.raises(SystemExit):
        benchmark.main(["pipelines", "--modalities", "points"])
    outputs = capsys.readouterr()
    assert "points is left out: the package trimesh is not installed." in outputs.out
    assert "`--modalities` must name one whose packages are installed" in outputs.err


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The folder of a model that is served in no time."""
    positions = kp.FourierPositions(2, (4, 5))
    backbone = kp.PerceiverBackbone(
        kp.inputs.ImageInput((4, 5, 3), positions),
        num_latents=3,
        latent_dim=8,
        num_layers_per_block=1,
        num_self_heads=2,
    )
    folder = tmp_path_factory.mktemp("served")
    model = kp.PerceiverClassifier(backbone, num_classes=4, multi_label=True)
    model.save_to_preset(folder)
    return folder


def is_server(name):
    return all(is_installed(package) for package in SERVERS[name].packages)


def test_serving(served, tmp_path, capsys):
    file = tmp_path / "serving.json"
    names = ["keras-call", "savedmodel"]
    flags = [f"--model={served}", "--rounds=2", "--cold-starts=0"]
    flags += [f"--only={name}" for name in names]
    benchmark.main(["serving", f"--json={file}", *flags, "--batch-sizes", "1", "2"])
    results = {
        result["contestant"]: result
        for result in json.loads(file.read_text())["results"]
    }
    assert list(results) == names
    for name, result in results.items():
        assert result["difference"] < 1e-4, name
        assert {len(times) for times in result["seconds"].values()} == {2}
        for batch, size in (("batch 1", 1), ("batch 2", 2)):
            seconds = result["seconds"][batch]
            latency = result["latency"][batch]
            assert latency["throughput"] == pytest.approx(2 * size / sum(seconds))
            assert latency["percentile_99"] is None  # Of two calls there is none.
        if name != "keras-call":
            assert result["file_bytes"] > result["weight_bytes"]
    said = capsys.readouterr().out
    assert "- batch 1: savedmodel to keras-call: " in said
    assert f"| {served} | savedmodel | 2 | " in file.with_suffix(".md").read_text()


@pytest.mark.parametrize("name", ["keras-predict", "onnx", "litert"])
def test_servers(served, tmp_path, name):
    entry, runs = worker.prepare(Serving(str(served), tmp_path), name, [1, 2])
    if not is_server(name):
        assert "not installed" in entry["reason"] and not runs
        return
    assert entry["difference"] < 1e-4
    assert serving_command.size_of(entry["path"]) > entry["weight_bytes"]
    for size in (1, 2):
        assert len(runs[f"batch {size}"]()) == size


def test_a_server_whose_process_ends(tmp_path, monkeypatch):
    program = tmp_path / "program.py"
    monkeypatch.setattr(processes, "WORKER", program)

    def process_of(body, max_seconds=60):
        program.write_text(f"import os, time\n{body}\n")
        order = {"contestant": "onnx", "folder": str(tmp_path)}
        process = processes.Process(order, max_seconds)
        seconds = process.seconds_of("batch 1")
        process.close()
        assert seconds == float("inf")
        return process.reason

    assert "by the signal SIGKILL" in process_of("os.kill(os.getpid(), 9)")
    assert "exit status 1: ValueError: no" in process_of("raise ValueError('no')")
    assert "took more than 0.1 s" in process_of("time.sleep(60)", max_seconds=0.1)
    ready = "print('{}', flush=True); input(); os.abort()"
    assert "by the signal SIGABRT" in process_of(ready)


def test_who_is_left_out_has_a_row():
    left_out = {"input": "digits", "contestant": "onnx", "reason": "of its size"}
    settings = {"rounds": 2}
    report = {"settings": settings, "results": [], "left_out": [left_out]}
    lines = serving_report.as_table(report)
    assert lines[-1].startswith("| digits | onnx | left out: of its size | - |")
    assert lines[-1].count("|") == lines[-2].count("|") == lines[2].count("|")


def test_latency():
    seconds = [0.001 * i for i in range(1, 201)]
    latency = serving_command.latency(seconds, batch_size=4)
    assert latency["median"] == pytest.approx(0.1005)
    assert latency["percentile_99"] == pytest.approx(np.percentile(seconds, 99))
    assert latency["throughput"] == pytest.approx(4 * 200 / sum(seconds))


def test_what_the_saved_model_is_held_to():
    def result(name, seconds):
        medians = {"batch 1": seconds}
        return {"input": "digits", "contestant": name, "median_seconds": medians}

    results = [result("keras-call", 0.1), result("savedmodel", 0.106)]
    (title, sentence) = serving_report.statements(results)
    assert title == "digits:"
    assert "1.06 (106.0 ms to 100.0 ms); aim: at most 1.05, missed" in sentence
    assert serving_report.statements(results[1:]) == []


@pytest.mark.skipif(not is_server("onnx"), reason="ONNX Runtime is not installed")
def test_cold_start(served, tmp_path):
    task = Serving(str(served), tmp_path)
    path = SERVERS["onnx"].export(task)
    np.savez(tmp_path / "inputs.npz", **task.inputs(1))
    seconds = serving_command.cold_start("onnx", path, tmp_path, count=1)
    assert seconds["total"] > seconds["open"] + seconds["first_answer"] > 0
    missing = serving_command.cold_start("onnx", f"{path}.no", tmp_path, count=1)
    assert missing is None


def test_inputs_of_what_is_served():
    rng = np.random.default_rng(0)
    ids = random_input(rng, (2, 5), "int32")
    assert ids.dtype == np.int32 and (ids > 0).all()
    assert random_input(rng, (2, 5), "bool").all()
    assert random_input(rng, (2, 5), "float32").dtype == np.float32
