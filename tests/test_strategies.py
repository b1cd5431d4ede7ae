"""Training on several devices and in several processes, as on one device."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

import strategies

ROOT = pathlib.Path(__file__).parent.parent
PROGRAM = [sys.executable, str(ROOT / "tests" / "strategy_program.py")]
WORKERS = {"worker": ["a:1", "b:2"]}


@contextlib.contextmanager
def free_ports(count):
    """Ports of this machine that nobody uses, the moment they are asked for."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in sockets]
    yield ports


def start_workers(commands, **kwargs):
    """Starts a process of one cluster for each command."""
    with free_ports(len(commands)) as ports:
        addresses = [f"127.0.0.1:{port}" for port in ports]
        processes = []
        for index, command in enumerate(commands):
            config = {
                "cluster": {"worker": addresses},
                "task": {"type": "worker", "index": index},
            }
            environment = {
                **os.environ,
                "TF_CONFIG": json.dumps(config),
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "scripts")]),
            }
            processes.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                    **kwargs,
                )
            )
    return processes


def finish(processes, timeout=300):
    """The status, output and errors of each process, which is killed if it hangs."""
    try:
        ends = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *end) for p, end in zip(processes, ends, strict=True)]


def load(path):
    """What strategy_program.py wrote: dict of (which, optimizer) to dict."""
    results = {}
    with np.load(path) as file:
        for key in file:
            which, optimizer, name = key.split("|")
            results.setdefault((which, optimizer), {})[name] = file[key]
    return results


def difference(a, b):
    assert a.keys() == b.keys() and len(a) > 20
    assert {"loss", "val_accuracy", "test_accuracy"} <= a.keys()
    return max(np.abs(a[name] - b[name]).max() for name in a)


def check_devices(folder, devices, *names):
    output = folder / "results.npz"
    done = subprocess.run(
        [*PROGRAM, str(output), "mirrored", str(devices), *names],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = load(output)
    for name in names:
        # With half the precision, roundings of each part of a batch differ.
        limit = 1e-2 if name.endswith("16") else 1e-5
        assert difference(results["many", name], results["one", name]) < limit, name
    # What clipping each device's gradients by themselves makes of it.
    assert difference(results["unmended", "sgd"], results["one", "sgd"]) > 1e-3


def test_two_devices_learn_what_one_does(tmp_path):
    check_devices(tmp_path, 2, "sgd")


@pytest.mark.large
def test_three_devices_learn_what_one_does(tmp_path):
    check_devices(tmp_path, 3, "sgd", "lamb", "adamw", "sgd-mixed_float16")


def check_workers(folder, workers, devices, *names):
    outputs = [folder / f"{i}.npz" for i in range(workers)]
    arguments = ["multiworker", str(devices), *names]
    ends = finish(start_workers([[*PROGRAM, str(o), *arguments] for o in outputs]))
    for status, _, error in ends:
        assert status == 0, error
    results = [load(output) for output in outputs]
    for result in results:
        # Without them no model of several workers can be fitted.
        assert "PerReplica" in str(result["failure", "unmended"]["message"])
        message = str(result["failure", "half_mended"]["message"])
        assert "Invalid reduction dimension 0 for input with 0 dimensions" in message
        for name in names:
            expected = results[0]["one", name]
            assert difference(result["many", name], expected) < 1e-5


def test_two_processes_learn_what_one_device_does(tmp_path):
    check_workers(tmp_path, 2, 1, "sgd")


@pytest.mark.large
@pytest.mark.parametrize("workers, devices", [(3, 1), (2, 2)])
def test_processes_learn_what_one_device_does(tmp_path, workers, devices):
    check_workers(tmp_path, workers, devices, "sgd", "lamb")


@pytest.mark.parametrize(
    "config, sentence",
    [
        (None, "must be set in the environment of each worker"),
        ("host:1", "must be a JSON object"),
        ({"task": {}}, 'must have a "cluster"'),
        ({"cluster": {"ps": ["a:1"]}}, r"no other jobs.*\['ps'\]"),
        ({"cluster": {"worker": "a:1"}}, 'as the list of the job "worker"'),
        ({"cluster": {"worker": ["a"]}}, 'addresses "host:port"'),
        ({"cluster": {"worker": ["a:1", "a:1"]}}, "an address of each task's own"),
        ({"cluster": {"chief": ["a:1", "b:1"]}}, "one chief at most"),
        ({"cluster": WORKERS}, r'"type" is one of \[\'worker\'\]'),
        ({"cluster": WORKERS, "task": {"type": "chief", "index": 0}}, '"type" is one'),
        (
            {"cluster": WORKERS, "task": {"type": "worker", "index": 2}},
            '"index" is below the 2',
        ),
        ({"cluster": WORKERS, "task": {"type": "worker"}}, '"index" is below'),
    ],
)
def test_a_wrong_tf_config_is_one_sentence(config, sentence, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        text = config if isinstance(config, str) else json.dumps(config)
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=sentence) as error:
        strategies.check("multiworker")
    assert "TF_CONFIG" in str(error.value) and "\n" not in str(error.value)


def test_tf_config_as_tensorflow_defines_it():
    for task in ({"type": "worker", "index": 1}, {"type": "worker", "index": "1"}):
        strategies.check_tf_config(json.dumps({"cluster": WORKERS, "task": task}))
    config = {"cluster": {**WORKERS, "chief": ["c:3"]}}
    for task in ({"type": "chief", "index": 0}, {"type": "worker", "index": 0}):
        strategies.check_tf_config(json.dumps({**config, "task": task, "rpc": "grpc"}))


def test_without_a_tpu_a_sentence_says_so(monkeypatch):
    for name in strategies.TPU_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="Received: no TPU, no TPU_NAME"):
        strategies.strategy("tpu")
    with free_ports(1) as (port,):
        address = f"grpc://127.0.0.1:{port}"
    monkeypatch.setenv("TPU_NAME", address)
    with pytest.raises(ValueError, match=f"No TPU can be reached .*{address}"):
        strategies.strategy("tpu")


def test_a_batch_that_the_devices_cannot_share_is_refused():
    class Three:
        num_replicas_in_sync = 3

    strategies.check_batch_size(Three, 12)
    with pytest.raises(ValueError, match="a multiple of the 3 devices"):
        strategies.check_batch_size(Three, 8)
