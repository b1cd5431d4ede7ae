"""What kinds of data there are, and in which files they come."""

import dataclasses

from pipelines.checks import check_choice


@dataclasses.dataclass(frozen=True)
class Modality:
    """A kind of data.

    Attributes:
        noun: str, what messages call one item.
        suffixes: tuple of bytes, the endings of its files, in lower case.
        formats: str, the same for messages.
        raw: tuple of str, the entries of an example that hold one item's data where
            it is not in a file.
    """

    noun: str
    suffixes: tuple[bytes, ...]
    formats: str
    raw: tuple[str, ...]


_VIDEO_FILES = ((b".avi", b".mkv", b".mov", b".mp4", b".webm"), "MP4, AVI, MKV or WebM")

MODALITIES = {
    "image": Modality(
        "image",
        (b".bmp", b".gif", b".jpeg", b".jpg", b".png"),
        "JPEG, PNG, BMP or GIF",
        ("image",),
    ),
    "video": Modality("video", *_VIDEO_FILES, ("video",)),
    "audio": Modality(
        "sound",
        (b".flac", b".mp3", b".ogg", b".wav"),
        "WAV, FLAC, MP3 or OGG",
        ("audio", "rate"),
    ),
    "audio_video": Modality("video", *_VIDEO_FILES, ("video", "audio", "rate")),
    "points": Modality(
        "point cloud",
        (b".npy", b".npz", b".obj", b".off", b".ply", b".xyz"),
        "NPY, NPZ, PLY, OFF, OBJ or XYZ",
        ("points",),
    ),
    "text": Modality("text", (b".txt",), "TXT", ("text",)),
}


def find_modality(name):
    """The `Modality` of a name.

    Raises:
        ValueError: if there is none.
    """
    check_choice("modality", name, tuple(MODALITIES))
    return MODALITIES[name]
