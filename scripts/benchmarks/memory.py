"""Peak memory of one run in a process of its own."""

import ctypes
import gc
import json
import os
import pathlib
import subprocess
import sys

import tensorflow as tf

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "benchmark.py"


def in_fresh_process(subcommand, order):
    """What a subcommand prints in its last line, of JSON.

    Args:
        subcommand: string, of `scripts/benchmark.py`.
        order: what it is told, of JSON.

    Raises:
        ChildProcessError: with the last line of its errors, where it fails.
    """
    result = subprocess.run(
        [sys.executable, str(SCRIPT), subcommand, json.dumps(order)],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        raise ChildProcessError(lines[-1])
    return json.loads(result.stdout.splitlines()[-1])


class Memory:
    """Memory of this process, or of its GPU, from now on."""

    def __init__(self):
        self.gpus = tf.config.list_physical_devices("GPU")
        _give_back()
        self.start = None if self.gpus else _status_bytes("VmRSS")

    def forget_peak(self):
        if self.gpus:
            tf.config.experimental.reset_memory_stats("GPU:0")
            if "torch" in sys.modules:
                sys.modules["torch"].cuda.reset_peak_memory_stats()
        else:
            _give_back()
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


def _give_back():
    """Returns to the system what was freed, such as what compiling took."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # That of glibc.
        trim(0)


def _status_bytes(key):
    """A number of /proc/self/status in bytes, `None` where there is none."""
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    values = dict(line.split(":", 1) for line in lines)
    return int(values[key].split()[0]) * 1024 if key in values else None
