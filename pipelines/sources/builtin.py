"""Data sets that need no network: shipped in Python packages, or generated."""

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


def load_builtin(name, split, rule, modality="image"):
    """Loads one split of a data set that comes without a network.

    Args:
        name: a key of `BUILTIN`.
        split: "train", "validation" or "test".
        rule: `SplitRule`, of which only `validation_fraction` counts, since the
            splits are fixed.
        modality: str, the kind of data asked for.

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
    if modality != own_modality:
        raise ValueError(
            f"builtin:{name} is of modality {own_modality!r}. "
            f"Received: modality={modality!r}"
        )
    return importlib.import_module(module).load(split, rule)
