"""Which modalities are measured: their files, and the config that reads them."""

import dataclasses
import importlib
from collections.abc import Callable

from benchmarks.pipelines import files


@dataclasses.dataclass(frozen=True)
class Case:
    """A modality, or one of its representations.

    Attributes:
        config: string, the module of its general config in `scripts/configs`.
        write: function (folder, count) that writes its files; cases with the same
            function share them.
        packages: tuple of the optional packages that hold what the files are made of.
        files: string, for people.
    """

    config: str
    write: Callable
    packages: tuple
    files: str

    def get_config(self):
        return importlib.import_module(f"configs.{self.config}").get_config()


_VIDEOS = {
    "write": files.write_videos,
    "packages": ("sklearn", "espeakng_loader"),
    "files": "MP4, 50 frames of 240 x 320, sound",
}
_SOUNDS = {
    "write": files.write_sounds,
    "packages": ("espeakng_loader",),
    "files": "WAV, 1 s at 8 kHz",
}
CASES = {
    "image": Case("image", files.write_jpegs, ("sklearn",), "JPEG, 256 x 256 x 3"),
    "video": Case("video", **_VIDEOS),
    "audio_mel": Case("audio_mel", **_SOUNDS),
    "audio_raw": Case("audio_raw", **_SOUNDS),
    "audio_video": Case("audio_video", **_VIDEOS),
    "points": Case(
        "points", files.write_meshes, ("trimesh",), "OFF and PLY, meshes of solids"
    ),
    "text": Case("text", files.write_texts, ("django", "polib"), "TXT, messages"),
}
# What `--modalities` takes: a case, or all those of one modality.
CHOICES = {name: (name,) for name in CASES} | {"audio": ("audio_mel", "audio_raw")}
