"""Names of files, whatever their bytes."""


def printable(path):
    """A path, bytes, as str for messages and names of classes."""
    return path.decode("utf-8", "backslashreplace")
