"""The benchmark at tiny sizes: that it measures and reports, not how long it takes."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import benchmark

SCRIPT = pathlib.Path(benchmark.__file__)
CASE = benchmark.Case("image", (4, 5), 3)
SETTING = benchmark.Setting(latents=3, latent_dim=8, bands=2, chunk_bytes=160)
TINY = ["--rounds=2", "--latents=3", "--latent-dim=8", "--bands=2"]
NAMES = ["grid", "dense-xla", "softmax", "torch-sdpa"]


def installed(name):
    package = benchmark.CONTESTANTS[name].package
    return package is None or benchmark.importlib.util.find_spec(package) is not None


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The files and the output of a run as users make it."""
    file = tmp_path_factory.mktemp("benchmark") / "new" / "cross.json"
    command = [sys.executable, str(SCRIPT), "cross_attention", "--json", str(file)]
    only = [f"--only={name}" for name in NAMES]
    result = subprocess.run(
        [*command, *TINY, *only, "--max-inputs=1024"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return file, result.stdout


def test_json_holds_times_memory_versions_and_machine(run):
    report = json.loads(run[0].read_text())
    assert report["settings"]["latents"] == 3
    assert report["versions"]["tensorflow"]
    assert report["machine"]["cores"] >= 1
    results = {result["contestant"]: result for result in report["results"]}
    assert list(results) == [name for name in NAMES if installed(name)]
    grid = results["grid"]
    assert (grid["input"], grid["num_inputs"]) == ("image 32 x 32", 1024)
    assert grid["channels"] == 3 + 2 * 5
    assert [len(grid["seconds"][q]) for q in ("forward", "training")] == [2, 2]
    assert set(results["softmax"]["seconds"]) == {"forward"}
    assert results["softmax"]["difference"] is None
    assert results["dense-xla"]["difference"] < 1e-5
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
    "name", [n for n, c in benchmark.CONTESTANTS.items() if c.is_attention]
)
def test_all_compute_one_function(name):
    if not installed(name):
        pytest.skip(f"{name} is not installed")
    task = benchmark.make_task(CASE, SETTING)
    ours = benchmark.make_ours(task, "grid", jit_compile=False)
    runner = benchmark.CONTESTANTS[name].make(task)
    output = runner.forward()
    assert output.shape == (1, 3, 8)
    assert benchmark.difference_to(ours.forward(), output, task.latents) < 1e-5
    gradients = runner.training()
    # One kernel for keys and values, and no biases of projections but the last.
    assert len(gradients) == (9 if name == "perceiver-pytorch" else 13)
    np.testing.assert_allclose(gradients[0], ours.training()[0], atol=1e-5)


def test_the_byte_array_is_that_of_the_layer():
    task = benchmark.make_task(CASE, SETTING)
    layer = benchmark.kp.layers.CrossAttention(positions=task.positions)
    np.testing.assert_allclose(task.byte_array, layer.dense(task.content), atol=1e-6)


def test_who_computes_something_else_is_left_out(capsys):
    task = benchmark.make_task(CASE, SETTING)
    output = benchmark.CONTESTANTS["grid"].make(task).forward()
    runners = {
        "grid": {"forward": lambda: output},
        "dense": {"forward": lambda: output + 1},
        "projected": {"forward": lambda: output * np.nan},
        "softmax": {"forward": lambda: 0.0},
    }
    differences = benchmark.check_outputs(task, runners)
    assert list(differences) == ["grid", "softmax"]
    said = capsys.readouterr().out
    assert "dense is left out" in said
    assert "projected is left out" in said


def test_what_needs_too_much_memory_is_said(capsys):
    case, setting = benchmark.CASES[-1], benchmark.Setting(512, 1024, 64, 2**22)
    assert benchmark.affordable("projected", case, setting, 12) == []
    assert benchmark.affordable("grid", case, setting, 12) == ["forward", "training"]
    assert "projected: forward is skipped" in capsys.readouterr().out


def test_turns():
    calls = []
    runners = {
        name: {"forward": lambda name=name: calls.append(name)} for name in ("a", "b")
    }
    seconds = benchmark.measure_times(runners, rounds=2, max_seconds=60)
    assert calls == ["a", "b", "a", "b", "a", "b"]  # The first two do not count.
    assert [len(times) for times in seconds.values()] == [2, 2]
    # A first call that uses up the time is the one measurement.
    seconds = benchmark.measure_times(runners, rounds=2, max_seconds=1e-12)
    assert [len(times) for times in seconds.values()] == [1, 1]


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
        result("grid", benchmark.REFERENCE, 0.1, 0.2),
        result("projected", benchmark.REFERENCE, 0.8, 1.2),
        result("softmax", benchmark.REFERENCE, 0.05),
        result("matmul", benchmark.REFERENCE, 2 * benchmark.MATMUL_SIZE**3 / 1e11),
    ]
    said = "\n".join(benchmark.statements(results, SETTING))
    assert "forward, grid to softmax: 2.00 (100 ms to 50 ms)" in said
    assert "forward, projected to grid: 8.00 (800 ms to 100 ms)" in said
    assert "forward + backward, projected to grid: 6.00 (1,200 ms to 200 ms)" in said
    assert "large matrices: 100 GFLOP/s" in said
    assert "torch" not in said
    assert benchmark.statements([], SETTING) == []


def test_slope():
    def slope(power):
        cases = [case for case in benchmark.CASES if case.kind == "video"]
        results = [result("grid", c, 1e-9 * c.num_inputs**power) for c in cases]
        # Too small to count: there the time is that of other things.
        small = result("grid", benchmark.Case("video", (2, 2, 2), 3), 1.0)
        return benchmark.slope([small, *results], "video", "grid", "forward")

    assert slope(1.0) == pytest.approx(1.0)
    assert slope(1.2) == pytest.approx(1.2)
    assert benchmark.slope([], "video", "grid", "forward") is None


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--rounds=0", "must be above zero"),
        ("--max-inputs=10", "`--max-inputs` must be at least 1,024"),
        ("--only=nobody", "invalid choice"),
    ],
)
def test_bad_flags(flag, message, tmp_path, capsys):
    command = ["cross_attention", "--json", str(tmp_path / "x.json"), *TINY, flag]
    with pytest.raises(SystemExit):
        benchmark.main(command)
    assert message in capsys.readouterr().err
