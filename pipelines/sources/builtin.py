"""Data sets that need no network: shipped in Python packages, or generated."""

import dataclasses
import importlib

# The modality of each, and the module that loads it. Modules are imported when asked
# for, since each may need a package of its own.
BUILTIN = {
    "mnist5k": ("image", "pipelines.sources.mnist5k"),
    "languages": ("text", "pipelines.sources.languages"),
    "solids": ("points", "pipelines.sources.solids"),
    "moving_digits": ("video", "pipelines.sources.moving_digits"),
    "seen_and_heard_digits": (
        "audio_video",
        "pipelines.sources.seen_and_heard_digits",
    ),
    "spoken_digits": ("audio", "pipelines.sources.spoken_digits"),
}
# What one stream of videos with sound is made of, for a model that has only that.
_STREAMS = {"audio": ("audio", "rate"), "video": ("video",)}


def load_builtin(name, split, rule, modality="image"):
    """Loads one split of a data set that comes without a network.

    Args:
        name: a key of `BUILTIN`.
        split: "train", "validation" or "test".
        rule: `SplitRule`, of which only `validation_fraction` counts, since the
            splits are fixed.
        modality: str, the kind of data asked for: that of the data set or, where this
            is "audio_video", one stream of it.

    Returns:
        A `Source`.

    Raises:
        ValueError: if the name is unknown, or of another modality.
        ImportError: if a package that it needs is not installed.
    """
    if name not in BUILTIN:
        known = ", ".join(f"builtin:{name}" for name in sorted(BUILTIN))
        raise ValueError(f"The built-in sources are {known}. Received: builtin:{name}")
    own_modality, module = BUILTIN[name]
    is_stream = own_modality == "audio_video" and modality in _STREAMS
    if modality != own_modality and not is_stream:
        raise ValueError(
            f"builtin:{name} is of modality {own_modality!r}. "
            f"Received: modality={modality!r}"
        )
    source = importlib.import_module(module).load(split, rule)
    return _one_stream(source, modality) if is_stream else source


def _one_stream(source, modality):
    kept = (*_STREAMS[modality], "label", "index")
    return dataclasses.replace(
        source,
        dataset=source.dataset.map(lambda example: {key: example[key] for key in kept}),
    )
