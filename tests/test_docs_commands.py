"""Commands of the README and of docs/ as a user runs them, on small made data.

In place of what a page leaves open, PATH and FILE, stand folders and files of the
modality that the command or its model reads. Models are small and trained for an epoch.
"""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pages import PAGES, ROOT, commands, script_of
from sound_files import encode_sound, tone
from video_clips import write_video

pytestmark = pytest.mark.docs

# Appended to what a page says.
SMALL_RUN = [
    "--config.epochs=1",
    "--config.batch_size=4",
    "--config.jit_compile=False",
]
SMALL_MODEL = [
    "--config.model.num_latents=4",
    "--config.model.num_layers_per_block=1",
]
SMALL = {("scripts/benchmark.py", "pipelines"): ["--quick", "--modalities", "image"]}
ITEMS_OF_A_CLASS = 14


def write_image(file, label, rng):
    pixels = rng.integers(0, 80, (12, 12, 3), dtype=np.uint8)
    pixels[6 * label : 6 * label + 6] += 150
    Image.fromarray(pixels).save(file.with_suffix(".png"))


def frames(label, rng):
    pixels = rng.integers(0, 80, (12, 16, 16, 3), dtype=np.uint8)
    pixels[6 * label : 6 * label + 6] += 150
    return pixels


def write_clip(file, label, rng):
    write_video(file.with_suffix(".mp4"), frames(label, rng), codec="mpeg4", rate=10)


def sound(label, rng):
    wave = tone(8000, 0.5, 300 + 500 * label)
    return wave + rng.normal(scale=0.01, size=wave.shape).astype(np.float32)


def write_sound(file, label, rng):
    encoded = encode_sound(sound(label, rng), 8000, "wav", "pcm_s16le")
    file.with_suffix(".wav").write_bytes(encoded)


def write_scene(file, label, rng):
    encoded = encode_sound(
        sound(label, rng), 8000, "matroska", "pcm_s16le", video=frames(label, rng)
    )
    file.with_suffix(".mkv").write_bytes(encoded)


def write_cloud(file, label, rng):
    np.save(file.with_suffix(".npy"), rng.normal(size=(64, 3)) * (1, 1, 1 + 3 * label))


def write_text(file, label, rng):
    words = [["one", "two", "three"], ["eins", "zwei", "drei"]][label]
    file.with_suffix(".txt").write_text(" ".join(rng.choice(words, 12)))


WRITERS = {
    "image": write_image,
    "video": write_clip,
    "audio": write_sound,
    "audio_video": write_scene,
    "points": write_cloud,
    "text": write_text,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Function from a modality to a folder of two class folders."""
    made = {}

    def folder(modality):
        if modality not in made:
            rng = np.random.default_rng(0)
            made[modality] = tmp_path_factory.mktemp(modality)
            for label, name in enumerate(("first", "second")):
                (made[modality] / name).mkdir()
                for i in range(ITEMS_OF_A_CLASS):
                    file = made[modality] / name / f"{i:02}"
                    WRITERS[modality](file, label, rng)
        return made[modality]

    return folder


@pytest.fixture(scope="module")
def run_of_another_page(tmp_path_factory, data):
    """Function that makes what a page takes for granted, the folder of a run."""
    made = []

    def folder():
        if not made:
            made.append(tmp_path_factory.mktemp("run"))
            argv = ["scripts/train.py", "--config=scripts/configs/image.py"]
            argv += [f"--workdir={made[0]}", "--config.data.source=folder:PATH"]
            done = run(filled(argv, ROOT, data), ROOT)
            assert done.returncode == 0, done.stderr
        return made[0]

    return folder


def modality_of(argv, workdir):
    """Which data a command means: its config's, its flag's, or its model's."""
    for argument in argv:
        name, _, value = argument.partition("=")
        if name == "--config":
            return runpy.run_path(str(ROOT / value))["get_config"]().modality
        if name == "--modality":
            return value
        if name == "--model" and (workdir / value / "config.json").exists():
            return json.loads((workdir / value / "config.json").read_text())["modality"]
    return "image"


def filled(argv, workdir, data):
    """A command without placeholders, made small."""
    script, modality = argv[0], modality_of(argv, workdir)
    folder = data(modality)
    found = []
    for argument in argv:
        if argument == "FILE...":
            found += [str(min(each.iterdir())) for each in sorted(folder.iterdir())]
        else:
            found.append(re.sub(r"\bfolder:PATH\b", f"folder:{folder}", argument))
    if script == "scripts/train.py":
        found += SMALL_RUN
        if not any(argument.startswith("--config.init_from") for argument in argv):
            found += SMALL_MODEL
    found += SMALL.get(tuple(argv[:2]), [])
    return found


def run(argv, workdir):
    return subprocess.run(
        [sys.executable, *argv],
        cwd=workdir,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def pages_with_commands():
    for page in PAGES:
        if any(script_of(snippet.code) for snippet in commands(page)):
            yield pytest.param(page, id=page.name)


@pytest.mark.parametrize("page", list(pages_with_commands()))
def test_commands_run_in_turn(page, tmp_path, data, run_of_another_page):
    for name in ("scripts", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    failures = []
    for snippet in commands(page):
        script = script_of(snippet.code)
        if not script:
            continue
        if snippet.not_run:
            print(f"{page.name}:{snippet.line}: not run, {snippet.not_run}")
            continue
        argv = shlex.split(snippet.code, comments=True)
        for model in re.findall(r"--model=(runs/\w+)", snippet.code):
            if not (tmp_path / model).exists():
                (tmp_path / "runs").mkdir(exist_ok=True)
                (tmp_path / model).symlink_to(run_of_another_page())
        argv = filled(argv[argv.index(script) :], tmp_path, data)
        done = run(argv, tmp_path)
        verdict = "ok" if done.returncode == 0 else f"status {done.returncode}"
        print(f"{page.name}:{snippet.line}: {verdict}: {shlex.join(argv)}", flush=True)
        if done.returncode:
            print(done.stderr[-2000:], flush=True)
            failures.append(snippet.code)
    assert not failures, "\n".join(failures)
