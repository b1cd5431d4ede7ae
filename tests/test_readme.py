"""Every snippet of the README runs, and the commands on data have flags that exist."""

import pathlib
import re
import runpy
import shlex
import subprocess
import sys

import pytest
from absl import flags
from ml_collections import config_flags

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TRAINING = (ROOT / "docs" / "training.md").read_text()
DATA = (ROOT / "docs" / "data.md").read_text()


def snippets(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def config_keys(config, prefix=""):
    """All keys of a nested config, dotted, with those of its sections."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if hasattr(value, "items"):
            yield from config_keys(value, f"{prefix}{key}.")


def test_python_snippets_run_in_turn(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scope = {}
    for code in snippets("python"):
        exec(compile(code, "README.md", "exec"), scope)
    assert scope["maps"][0].shape == (2, 1, 32, 784)
    assert "cross_attend_2" in capsys.readouterr().out
    assert scope["backbone"](scope["clip"]).shape == (2, 16, 32)
    assert scope["layer"](scope["latents"], scope["pixels"]).shape == (2, 7, 12)


def test_commands_exist():
    commands = "\n".join(snippets("shell")).replace("\\\n", " ")
    targets = re.findall(r"^make (\w+)", commands, re.M)
    assert targets == ["demo", "test"]
    for target in targets:
        dry = subprocess.run(
            ["make", "-n", target], cwd=ROOT, capture_output=True, text=True
        )
        assert dry.returncode == 0, dry.stderr
    files = re.findall(r"scripts/[\w/]+\.py", README)
    assert len(files) >= 3
    for file in files:
        assert (ROOT / file).exists(), file


def test_the_number_of_golden_files():
    count = len(list((ROOT / "tests" / "golden").glob("*.npz")))
    assert f"`tests/golden` holds {count} of them" in README


# ML Collections loads configs in an old way.
@pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")
@pytest.mark.parametrize(
    "text",
    [README, DATA, TRAINING],
    ids=["README.md", "docs/data.md", "docs/training.md"],
)
def test_flags_of_training_commands_are_right(text, monkeypatch):
    monkeypatch.chdir(ROOT)
    lines = "\n".join(snippets("shell", text)).replace("\\\n", " ").splitlines()
    commands = [line for line in lines if "scripts/train.py" in line]
    assert commands
    for command in commands:
        values = flags.FlagValues()
        config_flags.DEFINE_config_file("config", flag_values=values)
        flags.DEFINE_string("workdir", None, "", flag_values=values)
        argv = shlex.split(command)[1:]
        monkeypatch.setattr(sys, "argv", argv)  # Where it looks for keys to define.
        assert values(argv) == ["scripts/train.py"]
        assert values.config.data.source == "folder:PATH"


def test_the_page_on_data_knows_the_configs():
    keys = set()
    for file in (ROOT / "scripts" / "configs").glob("*.py"):
        config = runpy.run_path(str(file))["get_config"]()
        keys |= set(config_keys(config))
        if file.stem != "base":
            assert f"`{file.name}`" in DATA
        for key in config_keys(config.data.augmentation):
            assert f"`{key.rpartition('.')[2]}`" in DATA or key in ("audio", "video")
    named = set(re.findall(r"`(?:--)?config\.([\w.]+)", DATA))
    assert named and named <= keys
