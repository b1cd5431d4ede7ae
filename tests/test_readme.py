"""Every snippet of the README runs."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def snippets(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


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
