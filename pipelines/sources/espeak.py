"""Speaks text with eSpeak NG, in a process of its own.

eSpeak carries noise, echo and more over from one utterance to the next, and draws from
the random numbers of the C library. In a fresh process the same utterances in the same
order have the same samples; `synthesize` starts one, and this file is its program.
"""

import ctypes
import importlib.util
import json
import os
import subprocess
import sys

# Of eSpeak's C interface, `speak_lib.h`.
_SYNCHRONOUS, _RATE, _PITCH, _CHARACTERS, _UTF8 = 2, 1, 3, 1, 1


def voice_variants():
    """Names of the voice variants that eSpeak NG comes with, sorted.

    Raises:
        ImportError: if espeakng-loader is not installed.
    """
    return sorted(os.listdir(os.path.join(_loader().get_data_path(), "voices", "!v")))


def synthesize(utterances):
    """Speaks English text.

    Args:
        utterances: sequence of (text, voice variant, words per minute, pitch from 0
            to 99).

    Returns:
        Pair of a list of int16 buffers (bytes), one for each utterance, and the
        samples per second.

    Raises:
        ImportError: if espeakng-loader is not installed, or does not work.
    """
    _loader()
    # Run by its path: as a module it would import the package, and TensorFlow.
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps([list(utterance) for utterance in utterances]).encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        last_line = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ImportError(
            "eSpeak NG did not speak; reinstall it: pip install --force-reinstall "
            f"espeakng-loader. It says: {last_line}"
        )
    header, _, samples = done.stdout.partition(b"\n")
    rate, *lengths = json.loads(header)
    buffers, start = [], 0
    for length in lengths:
        buffers.append(samples[start : start + length])
        start += length
    return buffers, rate


def _loader():
    if importlib.util.find_spec("espeakng_loader") is None:
        raise ImportError(
            "Synthetic speech needs eSpeak NG; run: pip install espeakng-loader"
        )
    import espeakng_loader

    return espeakng_loader


def _speak_all(utterances):
    """Returns the sample rate, and a list of bytes."""
    loader = _loader()
    espeak = ctypes.CDLL(loader.get_library_path())
    rate = espeak.espeak_Initialize(
        _SYNCHRONOUS, 0, os.fsencode(loader.get_data_path()), 0
    )
    if rate <= 0:
        raise RuntimeError(f"espeak_Initialize returned {rate}")
    espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))
    chunks = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def receive(samples, count, events):
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    espeak.espeak_SetSynthCallback(receive)

    def call(name, *arguments):
        status = getattr(espeak, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} returned {status} for {arguments}")

    spoken = []
    for text, voice, words_per_minute, pitch in utterances:
        chunks.clear()
        call("espeak_SetVoiceByName", f"en+{voice}".encode())
        call("espeak_SetParameter", _RATE, words_per_minute, 0)
        call("espeak_SetParameter", _PITCH, pitch, 0)
        encoded = text.encode()
        size = ctypes.c_size_t(len(encoded) + 1)
        call("espeak_Synth", encoded, size, 0, _CHARACTERS, 0, _UTF8, None, None)
        call("espeak_Synchronize")
        spoken.append(b"".join(chunks))
    return rate, spoken


if __name__ == "__main__":
    _rate, _spoken = _speak_all(json.load(sys.stdin))
    _header = json.dumps([_rate, *(len(buffer) for buffer in _spoken)])
    sys.stdout.buffer.write(_header.encode() + b"\n" + b"".join(_spoken))
