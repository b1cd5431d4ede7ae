"""Files that are whole after whatever happens to the process or the machine."""

import os


def write_text(file, text):
    """Writes a file whole or not at all: beside its place, synced, and renamed.

    Args:
        file: `pathlib.Path` in a folder that exists.
        text: string.
    """
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(text, encoding="utf-8")
    sync(partial)
    os.replace(partial, file)
    sync(file.parent)


def sync(path):
    """Waits until a file, or the list of files of a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
