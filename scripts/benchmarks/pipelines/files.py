"""Class folders of files, made of data that ships in packages.

Each function writes files in turn to the folders of its classes, and takes the folder
and the number of files.
"""

import fractions
import importlib.util
import pathlib
import wave

import av
import numpy as np
from PIL import Image

from pipelines.sources import load_source
from pipelines.sources.solids import SCALE_RANGE, SOLIDS, turn

IMAGE_SIZE = 256
JPEG_QUALITY = 90
VIDEO_SIZE = (240, 320)
NUM_FRAMES = 50
FRAME_RATE = 25


def write_jpegs(folder, count):
    """Crops of photographs, 256 x 256, as JPEG."""
    _write_images(folder, count, ".jpg", quality=JPEG_QUALITY)


def write_pngs(folder, count):
    """The same crops as PNG."""
    _write_images(folder, count, ".png")


def write_videos(folder, count):
    """Two seconds of H.264, 240 x 320, that pan over a photograph; AAC sound."""
    photographs = read_photographs()
    sounds, rate, _, _ = _spoken_digits(count)
    random = np.random.RandomState(0)
    for number, sound in enumerate(sounds):
        name = list(photographs)[number % len(photographs)]
        frames = _pan(photographs[name], random)
        sound = np.tile(sound, 2)  # A digit takes a second.
        _write_video(_place(folder, name, number, ".mp4"), frames, sound, rate)


def write_sounds(folder, count):
    """Spoken digits, a second at 8 kHz each, as 16-bit WAV."""
    sounds, rate, labels, classes = _spoken_digits(count)
    for number, (sound, label) in enumerate(zip(sounds, labels, strict=True)):
        path = _place(folder, classes[label], number, ".wav")
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", None))
            file.writeframes(np.round(sound * (2**15 - 1)).astype("<i2").tobytes())


def write_meshes(folder, count):
    """Solids of random proportions, OFF and PLY by turns."""
    import trimesh

    random = np.random.RandomState(0)
    for number in range(count):
        name = list(SOLIDS)[number % len(SOLIDS)]
        vertices, faces = turn(*SOLIDS[name])
        vertices = vertices * random.uniform(*SCALE_RANGE, 3)
        suffix = (".off", ".ply")[number // len(SOLIDS) % 2]
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        mesh.export(_place(folder, name, number, suffix))


def write_texts(folder, count):
    """Messages of user interfaces in 25 languages, as UTF-8."""
    source = load_source("builtin:languages", "train", modality="text")
    for number, item in enumerate(source.dataset.take(count).as_numpy_iterator()):
        path = _place(folder, source.classes[item["label"]], number, ".txt")
        path.write_bytes(item["text"])


def read_photographs():
    """dict name -> uint8 array (427, 640, 3), of those that ship in scikit-learn."""
    # Found without importing scikit-learn.
    package = importlib.util.find_spec("sklearn")
    images = pathlib.Path(package.origin).parent / "datasets" / "images"
    return {
        path.stem: np.asarray(Image.open(path)) for path in sorted(images.glob("*.jpg"))
    }


def _place(folder, class_name, number, suffix):
    folder = folder / class_name
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{number:05}{suffix}"


def _write_images(folder, count, suffix, **options):
    photographs = read_photographs()
    random = np.random.RandomState(0)
    for number in range(count):
        name = list(photographs)[number % len(photographs)]
        photograph = photographs[name]
        top, left = (random.randint(s - IMAGE_SIZE + 1) for s in photograph.shape[:2])
        crop = photograph[top : top + IMAGE_SIZE, left : left + IMAGE_SIZE]
        Image.fromarray(crop).save(_place(folder, name, number, suffix), **options)


def _spoken_digits(count):
    """Returns sounds (count, 8000), their rate, their labels and the classes."""
    source = load_source("builtin:spoken_digits", "train", modality="audio")
    items = list(source.dataset.take(count).as_numpy_iterator())
    return (
        np.stack([item["audio"] for item in items]),
        int(items[0]["rate"]),
        [int(item["label"]) for item in items],
        source.classes,
    )


def _pan(photograph, random):
    """uint8 frames (NUM_FRAMES, *VIDEO_SIZE, 3) on a straight way over a photograph."""
    room = np.array(photograph.shape[:2]) - VIDEO_SIZE
    ends = random.randint(room + 1, size=(2, 2))
    way = np.linspace(*ends, NUM_FRAMES).round().astype(int)
    height, width = VIDEO_SIZE
    return np.stack([photograph[y : y + height, x : x + width] for y, x in way])


def _write_video(path, frames, sound, rate):
    with av.open(str(path), "w") as container:
        # All streams come before the first packet.
        video = container.add_stream("libx264", rate=FRAME_RATE)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=rate, layout="mono")
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode())
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        frame.pts, frame.time_base = 0, fractions.Fraction(1, rate)
        # Filled up to the frames of the codec.
        container.mux(audio.encode(frame))
        container.mux(audio.encode())
