"""Measures the package beside other implementations, in one run.

    python scripts/benchmark.py cross_attention --json FILE

One cross-attention, without the MLP that follows it: latents and inputs are normalised
and projected, the latents attend, and what they read is projected and added to them.
Every implementation computes this function with the same weights, which is checked
first. They take turns, round by round, and medians of the rounds are compared.

FILE receives all numbers; a table (.md) and a plot (.png) stand beside it. PyTorch,
transformers and perceiver-pytorch are measured where they are installed.
"""

import argparse
import dataclasses
import functools
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import matplotlib
import numpy as np
import tensorflow as tf

import keras_perceiver as kp
from keras_perceiver.blocks import NORM_EPSILON
from keras_perceiver.streaming import CHUNK_BYTES

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PACKAGES = (
    *("keras-perceiver", "keras", "tensorflow", "numpy"),
    *("torch", "transformers", "perceiver-pytorch"),
)
QUANTITIES = {"forward": "forward", "training": "forward + backward"}
# Of what an implementation reads, where it is compared with ours.
TOLERANCE = 1e-3
# Threads of another library spin for a while after their work; a pause lets them rest.
PAUSE = 0.02
MATMUL_SIZE = 2048
SLOPE_FROM = 16_000


@dataclasses.dataclass(frozen=True)
class Case:
    """Inputs of one size.

    Attributes:
        kind: `"image"`, `"audio"` or `"video"`.
        grid: tuple of d sizes, of which M is the product.
        content_channels: int, c.
    """

    kind: str
    grid: tuple
    content_channels: int

    @property
    def name(self):
        return f"{self.kind} {' x '.join(f'{size:,}' for size in self.grid)}"

    @property
    def num_inputs(self):
        return math.prod(self.grid)


CASES = [
    *(Case("image", (size, size), 3) for size in (32, 64, 128, 224, 512, 1024)),
    # Patches of 16 samples, which are the channels of one input.
    *(Case("audio", (size,), 16) for size in (2_048, 16_384, 131_072)),
    *(
        Case("video", grid, 3)
        for grid in ((4, 64, 64), (8, 112, 112), (16, 224, 224), (32, 224, 224))
    ),
]
REFERENCE = Case("image", (224, 224), 3)
QUICK = (
    *(Case("image", (32, 32), 3), Case("image", (128, 128), 3), REFERENCE),
    *(Case("audio", (16_384,), 16), Case("video", (8, 112, 112), 3)),
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is the same for all inputs: N, D, bands, and the bytes of a chunk."""

    latents: int
    latent_dim: int
    bands: int
    chunk_bytes: int


@dataclasses.dataclass(frozen=True)
class Task:
    """One cross-attention, from which every implementation is built.

    Attributes:
        case, setting: `Case` and `Setting`.
        positions: `kp.FourierPositions` of the grid.
        content: float32 array `(1, n_1, ..., n_d, c)`.
        latents: float32 array `(1, N, D)`.
        upstream: float32 array `(1, N, D)`, the gradient of the output.
        weights: dict path in our layer -> float32 array.
    """

    case: Case
    setting: Setting
    positions: kp.FourierPositions
    content: np.ndarray
    latents: np.ndarray
    upstream: np.ndarray
    weights: dict

    @property
    def channels(self):
        """C, the channels of content and positions."""
        return channels_of(self.case, self.setting)

    @functools.cached_property
    def byte_array(self):
        """Content and positions, `(1, M, C)`: what the other packages read."""
        case, width = self.case, self.case.content_channels
        array = np.empty((*case.grid, self.channels), "float32")
        array[..., :width] = self.content[0]
        tables = self.positions.axis_tables(case.grid)
        places = self.positions.axis_channels(len(case.grid))
        for axis, (table, channels) in enumerate(zip(tables, places, strict=True)):
            shape = [1] * len(case.grid) + [table.shape[-1]]
            shape[axis] = case.grid[axis]
            table = keras.ops.convert_to_numpy(table).reshape(shape)
            array[..., [width + channel for channel in channels]] = table
        return array.reshape(1, case.num_inputs, self.channels)


def positions_of(case, setting):
    return kp.FourierPositions(setting.bands, max_resolution=case.grid)


def channels_of(case, setting):
    return case.content_channels + positions_of(case, setting).channels(case.grid)


def make_task(case, setting):
    """The same numbers for every implementation, in any process."""
    rng = np.random.default_rng(0)
    width, channels = setting.latent_dim, channels_of(case, setting)
    normal = functools.partial(rng.standard_normal, dtype="float32")

    def kernel(rows, columns):
        return normal((rows, columns)) / np.float32(math.sqrt(rows))

    weights = {
        "attention.query.kernel": kernel(width, channels),
        "attention.key.kernel": kernel(channels, channels),
        "attention.value.kernel": kernel(channels, channels),
        "attention.attention_output.kernel": kernel(channels, width),
        "attention.attention_output.bias": normal(width),
    }
    # perceiver-pytorch has no other biases, so that they are left at zero.
    for name in ("query", "key", "value"):
        weights[f"attention.{name}.bias"] = np.zeros(channels, "float32")
    for name, size in (("query_norm", width), ("inputs_norm", channels)):
        weights[f"{name}.gamma"] = 1 + np.float32(0.1) * normal(size)
        weights[f"{name}.beta"] = np.float32(0.1) * normal(size)
    return Task(
        case=case,
        setting=setting,
        positions=positions_of(case, setting),
        content=rng.uniform(-1, 1, (1, *case.grid, case.content_channels)).astype(
            "float32"
        ),
        latents=normal((1, setting.latents, width)),
        upstream=normal((1, setting.latents, width)),
        weights=weights,
    )


# === The implementations ===


@dataclasses.dataclass(frozen=True)
class Runner:
    """One implementation, ready to run; its functions return when it is done.

    Attributes:
        forward: function to the output, `(1, N, D)`, as an array.
        training: function that computes the output and the gradients of the latents
            and all weights; `None` where there is none.
    """

    forward: Callable
    training: Callable | None = None


class Read(kp.layers.CrossAttention):
    """A cross-attention without the MLP that follows it."""

    def _add_mlp(self, x, training):
        return x


def make_ours(task, method, jit_compile):
    """`kp.layers.CrossAttention`, in a graph with or without XLA.

    On a grid it reads the content; else the byte array, ready-made, as others do.
    """
    positions, inputs = task.positions, tf.constant(task.content)
    if method != "grid":
        # Not `task.byte_array`, which would then be in memory more than once.
        inputs = kp.layers.CrossAttention(positions=positions).dense(inputs)
        positions = None
    layer = Read(
        positions=positions, method=method, chunk_bytes=task.setting.chunk_bytes
    )
    layer.build(task.latents.shape, inputs.shape)
    for path, array in task.weights.items():
        functools.reduce(getattr, path.split("."), layer).assign(array)
    latents = tf.Variable(task.latents)
    upstream = tf.constant(task.upstream)
    parts = (layer.query_norm, layer.inputs_norm, layer.attention)
    weights = [weight.value for part in parts for weight in part.trainable_weights]

    @tf.function(jit_compile=jit_compile)
    def forward(inputs):
        return layer(latents, inputs)

    @tf.function(jit_compile=jit_compile)
    def training(inputs, upstream):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(latents, inputs) * upstream)
        return tape.gradient(loss, [latents, *weights])

    return Runner(
        lambda: forward(inputs).numpy(),
        lambda: [gradient.numpy() for gradient in training(inputs, upstream)],
    )


def make_softmax(task):
    """One softmax over an array of N x M: the least that attention must do."""
    logits = tf.random.uniform((task.setting.latents, task.case.num_inputs))
    softmax = tf.function(tf.nn.softmax)
    return Runner(lambda: wait(softmax(logits)))


def make_matmul(task):
    """A large product of matrices: the rate that the machine is capable of."""
    matrix = tf.random.uniform((MATMUL_SIZE, MATMUL_SIZE))
    multiply = tf.function(tf.matmul)
    return Runner(lambda: wait(multiply(matrix, matrix)))


def make_mlp(task):
    """The MLP of a whole cross-attend, which does not depend on the inputs."""
    layer = kp.layers.MLP()
    norm = keras.layers.LayerNormalization(epsilon=NORM_EPSILON)
    latents, upstream = tf.Variable(task.latents), tf.constant(task.upstream)
    layer(norm(latents))
    weights = [w.value for part in (norm, layer) for w in part.trainable_weights]

    @tf.function
    def forward():
        return latents + layer(norm(latents))

    @tf.function
    def training(upstream):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(forward() * upstream)
        return tape.gradient(loss, [latents, *weights])

    return Runner(
        lambda: forward().numpy(), lambda: [g.numpy() for g in training(upstream)]
    )


def wait(x):
    """Returns when the numbers of a tensor are there; a GPU runs ahead."""
    return tf.reshape(x, (-1,))[-1].numpy()


def make_sdpa(task):
    """PyTorch's `scaled_dot_product_attention` with norms and projections."""
    import torch

    class Attention(torch.nn.Module):
        def __init__(self, width, channels):
            super().__init__()
            self.query_norm = torch.nn.LayerNorm(width, eps=NORM_EPSILON)
            self.inputs_norm = torch.nn.LayerNorm(channels, eps=NORM_EPSILON)
            self.query = torch.nn.Linear(width, channels)
            self.key = torch.nn.Linear(channels, channels)
            self.value = torch.nn.Linear(channels, channels)
            self.result = torch.nn.Linear(channels, width)

        def forward(self, latents, inputs):
            inputs = self.inputs_norm(inputs)
            # One head: (1, 1, N, C) and (1, 1, M, C).
            query = self.query(self.query_norm(latents))[:, None]
            key, value = self.key(inputs)[:, None], self.value(inputs)[:, None]
            attend = torch.nn.functional.scaled_dot_product_attention
            return latents + self.result(attend(query, key, value)[:, 0])

    module = Attention(task.setting.latent_dim, task.channels)
    layers = {
        "query_norm": module.query_norm,
        "inputs_norm": module.inputs_norm,
        "attention.query": module.query,
        "attention.key": module.key,
        "attention.value": module.value,
        "attention.attention_output": module.result,
    }
    return torch_runner(task, module, layers)


def make_hugging_face(task):
    """The cross-attention of `PerceiverLayer`, less the MLP that follows it."""
    from transformers import PerceiverConfig
    from transformers.models.perceiver.modeling_perceiver import PerceiverLayer

    module = PerceiverLayer(
        PerceiverConfig(),
        is_cross_attention=True,
        qk_channels=task.channels,
        v_channels=task.channels,
        num_heads=1,
        q_dim=task.setting.latent_dim,
        kv_dim=task.channels,
        widening_factor=1,
    ).attention
    attention = module.self
    layers = {
        "query_norm": attention.layernorm1,
        "inputs_norm": attention.layernorm2,
        "attention.query": attention.query,
        "attention.key": attention.key,
        "attention.value": attention.value,
        "attention.attention_output": module.output.dense,
    }

    def call(latents, inputs):
        return module(latents, inputs=inputs)[0]

    return torch_runner(task, module, layers, call)


def make_perceiver_pytorch(task):
    """`Attention` of perceiver-pytorch within its `PreNorm`, and the residual."""
    import torch
    from perceiver_pytorch.perceiver_pytorch import Attention, PreNorm

    width, channels = task.setting.latent_dim, task.channels
    attention = Attention(width, channels, heads=1, dim_head=channels)
    module = PreNorm(width, attention, context_dim=channels)
    layers = {
        "query_norm": module.norm,
        "inputs_norm": module.norm_context,
        "attention.query": attention.to_q,
        "attention.attention_output": attention.to_out,
    }
    kernels = [task.weights[f"attention.{name}.kernel"] for name in ("key", "value")]
    with torch.no_grad():
        attention.to_kv.weight.copy_(torch.from_numpy(np.concatenate(kernels, 1).T))

    def call(latents, inputs):
        return latents + module(latents, context=inputs)

    return torch_runner(task, module, layers, call)


def torch_runner(task, module, layers, call=None):
    """A `Runner` of a PyTorch module, with the weights of the task.

    Args:
        task: `Task`.
        module: `torch.nn.Module`.
        layers: dict path in our layer -> layer norm or linear layer of the module.
        call: function of latents and inputs; defaults to the module.
    """
    import torch

    torch.set_num_threads(os.cpu_count())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.no_grad():
        for path, layer in layers.items():
            is_norm = path.endswith("norm")
            weight = task.weights[f"{path}.gamma" if is_norm else f"{path}.kernel"]
            layer.weight.copy_(torch.from_numpy(weight.T))
            if layer.bias is not None:
                bias = task.weights[f"{path}.beta" if is_norm else f"{path}.bias"]
                layer.bias.copy_(torch.from_numpy(bias))
    module.to(device).eval()  # No dropout; there is nothing else that it changes.
    call = call or module
    inputs = torch.from_numpy(task.byte_array).to(device)
    latents = torch.from_numpy(task.latents).to(device).requires_grad_()
    upstream = torch.from_numpy(task.upstream).to(device)
    weights = [latents, *module.parameters()]

    def forward():
        with torch.no_grad():
            return call(latents, inputs).cpu().numpy()

    def training():
        gradients = torch.autograd.grad(call(latents, inputs), weights, upstream)
        return [gradient.cpu().numpy() for gradient in gradients]

    return Runner(forward, training)


@dataclasses.dataclass(frozen=True)
class Contestant:
    """An implementation by name.

    Attributes:
        make: function of a `Task` to a `Runner`.
        way: what it keeps in memory, a key of `estimated_bytes`.
        package: the optional package that it needs, if any.
        is_attention: bool. `False` is a point of reference.
    """

    make: Callable
    way: str
    package: str | None = None
    is_attention: bool = True


def _contestants():
    contestants = {}
    ways = {"grid": "chunks", "dense": "array", "projected": "weights"}
    for method, way in ways.items():
        for suffix, jit_compile in (("", False), ("-xla", True)):
            make = functools.partial(make_ours, method=method, jit_compile=jit_compile)
            contestants[method + suffix] = Contestant(make, way)
    return contestants | {
        "torch-sdpa": Contestant(make_sdpa, "keys", "torch"),
        "hugging-face": Contestant(make_hugging_face, "weights", "transformers"),
        "perceiver-pytorch": Contestant(
            make_perceiver_pytorch, "weights", "perceiver_pytorch"
        ),
        "softmax": Contestant(make_softmax, "softmax", is_attention=False),
        "matmul": Contestant(make_matmul, "nothing", is_attention=False),
        "mlp": Contestant(make_mlp, "nothing", is_attention=False),
    }


CONTESTANTS = _contestants()


def estimated_bytes(way, case, setting, quantity):
    """What a way of computing keeps at a time, from shapes alone.

    The arrays of M x C are the byte array, its norm, keys and values, and what an
    implementation makes on the way; those of N x M the scores and the weights. The
    backward pass holds about as many again.
    """
    array = case.num_inputs * channels_of(case, setting)
    scores = setting.latents * case.num_inputs
    passes = 2 if quantity == "training" else 1
    floats = {
        "nothing": 0,
        "softmax": 2 * scores,
        "chunks": 2 * case.num_inputs * (case.content_channels + 4),
        "array": 4 * array,
        "keys": 4 * array * passes,
        "weights": (4 * array + 2 * scores) * passes,
    }[way]
    in_chunks = 8 * setting.chunk_bytes if way in ("chunks", "array") else 0
    return 4 * floats + in_chunks


# === Measuring ===


def measure_times(runners, rounds, max_seconds):
    """Seconds of each run, taking turns.

    The first call, which traces, compiles and fills caches, does not count, unless it
    alone takes `max_seconds`: then it is the one measurement. Who has used them up in
    later rounds sits out the rest.

    Args:
        runners: dict name -> dict quantity -> function.
        rounds: int.
        max_seconds: float.

    Returns:
        dict (name, quantity) -> list of seconds.
    """
    runs = {
        (name, quantity): run
        for name, functions in runners.items()
        for quantity, run in functions.items()
    }
    seconds = {}
    for key, run in runs.items():
        first = timed(run)
        seconds[key] = [first] if first > max_seconds else []
    for _ in range(rounds):
        for key, run in runs.items():
            if sum(seconds[key]) < max_seconds:
                seconds[key].append(timed(run))
    return seconds


def timed(run):
    time.sleep(PAUSE)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def difference_to(reference, output, latents):
    """The largest difference of what was read, relative to the largest read."""
    read = reference - latents
    return float(np.abs(output - reference).max() / np.abs(read).max())


def measure_peak_memory(name, case, setting, quantities):
    """Peak memory in bytes, in a fresh process: dict quantity -> int or `None`."""
    order = {
        "name": name,
        "case": dataclasses.asdict(case),
        "setting": dataclasses.asdict(setting),
        "quantities": list(quantities),
    }
    result = subprocess.run(
        [sys.executable, __file__, "peak_memory", json.dumps(order)],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"  {name}: no peak memory, its process ended: {last}")
        return dict.fromkeys(quantities)
    return json.loads(result.stdout.splitlines()[-1])


def peak_memory(order):
    """Prints the peak memory of this process, beyond what it held before.

    The process imports all it needs, runs the implementation once at a tiny size,
    which loads libraries and starts threads, and makes the content, the latents and
    the weights. What it holds then is subtracted from the highest that it holds until
    the end of one run, tracing and compiling included, and the byte array, where one
    is made. On a GPU: the highest of its allocator, nothing subtracted.
    """
    case = Case(**{**order["case"], "grid": tuple(order["case"]["grid"])})
    setting = Setting(**order["setting"])
    make = CONTESTANTS[order["name"]].make
    tiny = dataclasses.replace(case, grid=(2,) * len(case.grid))
    warm_up = make(make_task(tiny, setting))
    warm_up.forward()
    warm_up.training()
    task = make_task(case, setting)
    start = Memory()
    runner = make(task)
    peaks = {}
    for quantity in order["quantities"]:
        start.forget_peak()
        getattr(runner, quantity)()
        peaks[quantity] = start.peak()
    print(json.dumps(peaks))


class Memory:
    """Memory of this process, or of its GPU, from now on."""

    def __init__(self):
        self.gpus = tf.config.list_physical_devices("GPU")
        self.start = None if self.gpus else _status_bytes("VmRSS")

    def forget_peak(self):
        if self.gpus:
            tf.config.experimental.reset_memory_stats("GPU:0")
            if "torch" in sys.modules:
                sys.modules["torch"].cuda.reset_peak_memory_stats()
        else:
            try:
                # Linux: the peak of the resident memory starts anew.
                pathlib.Path("/proc/self/clear_refs").write_text("5")
            except OSError:
                self.start = None

    def peak(self):
        """Bytes since `forget_peak`; `None` where the system does not tell."""
        if self.gpus:
            peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
            if "torch" in sys.modules:
                peak += sys.modules["torch"].cuda.max_memory_allocated()
            return peak
        if self.start is None:
            return None
        return max(0, _status_bytes("VmHWM") - self.start)


def _status_bytes(key):
    """A number of /proc/self/status in bytes, `None` where there is none."""
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    values = dict(line.split(":", 1) for line in lines)
    return int(values[key].split()[0]) * 1024 if key in values else None


def cross_attention(args):
    """Measures, prints and writes; the subcommand."""
    setting = Setting(args.latents, args.latent_dim, args.bands, args.chunk_bytes)
    cases = [
        case
        for case in (QUICK if args.quick else CASES)
        if args.max_inputs is None or case.num_inputs <= args.max_inputs
    ]
    if not cases:
        raise ValueError(
            f"`--max-inputs` must be at least {CASES[0].num_inputs:,}, the smallest of "
            f"the inputs. Received: {args.max_inputs}"
        )
    names = [name for name in args.only or CONTESTANTS if is_installed(name)]
    report = {
        "settings": {**dataclasses.asdict(setting), "rounds": args.rounds},
        "versions": versions(),
        "machine": machine(),
        "results": [],
    }
    print_machine(report)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    for case in cases:
        print(
            f"{case.name}: M = {case.num_inputs:,}, C = {channels_of(case, setting)}",
            flush=True,
        )
        report["results"] += measure_case(case, setting, names, args)
        report["machine"]["load_after"] = load_average()
        report["statements"] = statements(report["results"], setting)
        # After each case, so that an interrupted run is not lost.
        args.json.write_text(json.dumps(report, indent=1))
        args.json.with_suffix(".md").write_text(as_table(report))
        draw(report["results"], args.json.with_suffix(".png"))
    for statement in report["statements"]:
        print(statement)


def measure_case(case, setting, names, args):
    """All contestants on inputs of one size: a list of results, dicts."""
    task = make_task(case, setting)
    runners = {}
    for name in names:
        quantities = affordable(name, case, setting, args.memory_gb)
        if quantities:
            runner = CONTESTANTS[name].make(task)
            runs = {quantity: getattr(runner, quantity) for quantity in quantities}
            runners[name] = {q: run for q, run in runs.items() if run is not None}
    differences = check_outputs(task, runners)
    runners = {name: runs for name, runs in runners.items() if name in differences}
    seconds = measure_times(runners, args.rounds, args.max_seconds)
    channels = task.channels
    # The other processes need the memory that this one holds.
    del task, runners
    results = []
    for name in differences:
        own = {q: times for (n, q), times in seconds.items() if n == name}
        peaks = {}
        if CONTESTANTS[name].is_attention and not args.skip_memory:
            peaks = measure_peak_memory(name, case, setting, own)
        results.append(
            {
                "input": case.name,
                "kind": case.kind,
                "grid": case.grid,
                "num_inputs": case.num_inputs,
                "channels": channels,
                "contestant": name,
                "difference": differences[name],
                "seconds": own,
                "median_seconds": {q: statistics.median(t) for q, t in own.items()},
                "peak_bytes": peaks,
            }
        )
        print("  " + in_words(results[-1]), flush=True)
    return results


def is_installed(name):
    """Whether a contestant's package is there; says so where it is not."""
    package = CONTESTANTS[name].package
    if package is None or importlib.util.find_spec(package) is not None:
        return True
    print(f"{name} is left out: the package {package} is not installed.")
    return False


def affordable(name, case, setting, memory_gb):
    """The quantities whose arrays fit in the budget; says what does not."""
    contestant = CONTESTANTS[name]
    quantities = []
    for quantity, text in QUANTITIES.items():
        needed = estimated_bytes(contestant.way, case, setting, quantity) / 1e9
        if needed <= memory_gb:
            quantities.append(quantity)
        else:
            print(
                f"  {name}: {text} is skipped, it would need about {needed:.1f} GB of "
                f"the {memory_gb:g} GB allowed (--memory-gb)"
            )
    return quantities


def check_outputs(task, runners):
    """Difference of each output to ours; who does not compute the same is left out.

    Returns:
        dict name -> float, or `None` for a point of reference.
    """
    attention = [name for name in runners if CONTESTANTS[name].is_attention]
    differences = {name: None for name in runners if name not in attention}
    if attention:
        reference = CONTESTANTS["grid"].make(task).forward()
    for name in attention:
        output = runners[name]["forward"]()
        difference = difference_to(reference, output, task.latents)
        if difference <= TOLERANCE:
            differences[name] = difference
        else:
            print(
                f"  {name} is left out: what it reads differs from ours by "
                f"{difference:.1e} of the largest, more than {TOLERANCE:g}"
            )
    # In the order in which they were given.
    return {name: differences[name] for name in runners if name in differences}


# === Reporting ===


def versions():
    """Dict package -> version, of those that are installed."""
    found = {"python": platform.python_version(), "keras-perceiver": kp.__version__}
    for package in PACKAGES:
        try:
            found.setdefault(package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine():
    """What the numbers were measured on."""
    processor = platform.processor() or platform.machine()
    cpu_info = pathlib.Path("/proc/cpuinfo")
    if cpu_info.exists():
        for line in cpu_info.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "gpus": [gpu.name for gpu in tf.config.list_physical_devices("GPU")],
        "load_before": load_average(),
    }


def load_average():
    """Processes that ran or waited in the last minute, `None` where unknown."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def print_machine(report):
    own = report["machine"]
    print(f"{own['processor']}, {own['cores']} cores, GPUs: {own['gpus'] or 'none'}")
    print(", ".join(f"{name} {v}" for name, v in report["versions"].items()))
    if own["load_before"] is not None and own["load_before"] > 0.25 * own["cores"]:
        print(
            f"The machine is busy with other work, a load of {own['load_before']:.1f}:"
            " times of this run are not those of a free one."
        )


def in_words(result):
    """One result as a line."""
    parts = []
    for quantity, seconds in result["median_seconds"].items():
        text = f"{QUANTITIES[quantity]} {1e3 * seconds:,.1f} ms"
        peak = result["peak_bytes"].get(quantity)
        if peak is not None:
            text += f", {peak / 2**20:,.0f} MiB"
        rounds = len(result["seconds"][quantity])
        parts.append(f"{text} ({rounds} {'round' if rounds == 1 else 'rounds'})")
    return f"{result['contestant']}: {'; '.join(parts)}"


def statements(results, setting):
    """What the results say, in sentences."""
    medians = {
        (r["contestant"], q): seconds
        for r in results
        if r["input"] == REFERENCE.name
        for q, seconds in r["median_seconds"].items()
    }
    sentences = [f"On {REFERENCE.name} x 3, {setting.latents} latents:"]

    def compare(name, other, quantity="forward"):
        own, others = medians.get((name, quantity)), medians.get((other, quantity))
        if own and others:
            sentences.append(
                f"- {QUANTITIES[quantity]}, {name} to {other}: {own / others:.2f} "
                f"({1e3 * own:,.0f} ms to {1e3 * others:,.0f} ms)"
            )

    for suffix in ("", "-xla"):
        compare(f"grid{suffix}", "softmax")
        for quantity in QUANTITIES:
            for other in ("projected", "dense"):
                compare(other + suffix, f"grid{suffix}", quantity)
            for other in ("torch-sdpa", "hugging-face", "perceiver-pytorch"):
                compare(other, f"grid{suffix}", quantity)
    for quantity in QUANTITIES:
        if ("mlp", quantity) in medians:
            milliseconds = 1e3 * medians["mlp", quantity]
            sentences.append(
                f"- {QUANTITIES[quantity]} of the MLP of a whole cross-attend, which "
                f"is in none of these times: {milliseconds:,.0f} ms"
            )
    if ("matmul", "forward") in medians:
        rate = 2 * MATMUL_SIZE**3 / medians["matmul", "forward"] / 1e9
        sentences.append(f"- products of large matrices: {rate:,.0f} GFLOP/s")
    if len(sentences) == 1:
        sentences = []
    for kind in ("image", "video"):
        for name in ("grid", "grid-xla"):
            for quantity, text in QUANTITIES.items():
                fitted = slope(results, kind, name, quantity)
                if fitted is not None:
                    sentences.append(
                        f"Slope of log time against log M, {kind}, {name}, {text}: "
                        f"{fitted:.2f}"
                    )
    return sentences


def slope(results, kind, name, quantity):
    """Of a line through log time against log M, from 16,000 inputs on, or `None`."""
    points = [
        (r["num_inputs"], r["median_seconds"][quantity])
        for r in results
        if (r["kind"], r["contestant"]) == (kind, name)
        and r["num_inputs"] >= SLOPE_FROM
        and quantity in r["median_seconds"]
    ]
    if len(points) < 2:
        return None
    inputs, seconds = np.log(np.array(points, "float64")).T
    return float(np.polyfit(inputs, seconds, 1)[0])


def as_table(report):
    """The results as Markdown."""
    own, setting = report["machine"], report["settings"]
    lines = [
        f"{own['processor']}, {own['cores']} cores, GPUs: {own['gpus'] or 'none'}; "
        + ", ".join(f"{name} {v}" for name, v in report["versions"].items()),
        "",
        f"{setting['latents']} latents of {setting['latent_dim']}, one head, batch 1, "
        f"float32; medians of at most {setting['rounds']} rounds.",
        "",
        "| inputs | M | C | implementation | forward, ms | forward + backward, ms | "
        "peak of forward, MiB | peak of both, MiB | rounds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in report["results"]:
        times = [result["median_seconds"].get(q) for q in QUANTITIES]
        peaks = [result["peak_bytes"].get(q) for q in QUANTITIES]
        rounds = [str(len(result["seconds"].get(q, []))) for q in QUANTITIES]
        cells = [
            result["input"],
            f"{result['num_inputs']:,}",
            str(result["channels"]),
            result["contestant"],
            *("-" if t is None else f"{1e3 * t:,.1f}" for t in times),
            *("-" if p is None else f"{p / 2**20:,.0f}" for p in peaks),
            ", ".join(rounds),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *report["statements"], ""])


def draw(results, file):
    """Time and memory against M, a row for each kind of input."""
    kinds = list(dict.fromkeys(r["kind"] for r in results))
    names = [n for n in CONTESTANTS if any(r["contestant"] == n for r in results)]
    # What does not depend on the inputs would only be a level line.
    names = [name for name in names if name not in ("matmul", "mlp")]
    columns = [
        ("median_seconds", "forward", "forward, s", 1.0),
        ("median_seconds", "training", "forward + backward, s", 1.0),
        ("peak_bytes", "forward", "peak of forward, MiB", 2.0**-20),
        ("peak_bytes", "training", "peak of both, MiB", 2.0**-20),
    ]
    columns = [
        (group, quantity, *rest)
        for group, quantity, *rest in columns
        if any(r[group].get(quantity) for r in results)
    ]
    size = (4 * len(columns) + 1, 3.6 * len(kinds) + 1)
    figure, panels = plt.subplots(len(kinds), len(columns), figsize=size, squeeze=False)
    colors = plt.get_cmap("tab10").colors
    for row, kind in zip(panels, kinds, strict=True):
        for panel, (group, quantity, title, unit) in zip(row, columns, strict=True):
            for name in names:
                points = [
                    (r["num_inputs"], unit * r[group][quantity])
                    for r in results
                    if (r["kind"], r["contestant"]) == (kind, name)
                    and r[group].get(quantity)
                ]
                if points:
                    base = name.removesuffix("-xla")
                    bases = list(dict.fromkeys(n.removesuffix("-xla") for n in names))
                    panel.plot(
                        *zip(*points, strict=True),
                        label=name,
                        marker="o",
                        markersize=3,
                        color=colors[bases.index(base)],
                        linestyle="-" if name == base else "--",
                    )
            panel.set(title=f"{kind}: {title}", xlabel="inputs M")
            panel.set(xscale="log", yscale="log")
            panel.grid(alpha=0.3)
    lines = {}
    for panel in panels.flat:
        handles, labels = panel.get_legend_handles_labels()
        lines |= dict(zip(labels, handles, strict=True))
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4)
    figure.set_layout_engine("constrained")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("cross_attention", help="one read of the inputs")
    command.set_defaults(run=cross_attention)
    add = command.add_argument
    add("--json", type=pathlib.Path, required=True, help="file of all numbers")
    add("--quick", action="store_true", help="few sizes")
    add("--rounds", type=positive(int), default=7, help="turns of each contestant")
    add("--latents", type=positive(int), default=512, help="N")
    add("--latent-dim", type=positive(int), default=1024, help="D")
    add("--bands", type=positive(int), default=64, help="bands of the positions")
    add("--chunk-bytes", type=positive(int), default=CHUNK_BYTES, help="of our layer")
    add("--max-inputs", type=positive(int), help="leave larger inputs out")
    add("--only", action="append", choices=CONTESTANTS, help="may be repeated")
    add("--memory-gb", type=positive(float), default=12, help="skip what needs more")
    add(
        "--max-seconds",
        type=positive(float),
        default=10,
        help="of one contestant for one quantity at one size; it then sits out",
    )
    add("--skip-memory", action="store_true", help="measure times only")

    command = commands.add_parser("peak_memory", help="one contestant in one process")
    command.set_defaults(run=lambda args: peak_memory(args.order))
    command.add_argument("order", type=json.loads)

    args = parser.parse_args(argv)
    # It would warn that each contestant is traced anew.
    tf.get_logger().setLevel("ERROR")
    for gpu in tf.config.list_physical_devices("GPU"):
        # TensorFlow would take all of it, and leave nothing to the others.
        tf.config.experimental.set_memory_growth(gpu, True)
    try:
        args.run(args)
    except ValueError as error:
        parser.error(str(error))


def positive(kind):
    """A number above zero, for `argparse`."""

    def parse(text):
        number = kind(text)
        if number <= 0:
            raise argparse.ArgumentTypeError(f"must be above zero, received {text}")
        return number

    return parse


if __name__ == "__main__":
    main()
