"""The layers against reference outputs of DeepMind's published code."""

import pathlib
import shutil

import numpy as np
import pytest

import check_golden

GOLDEN = pathlib.Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.npz"))


def test_files_are_here():
    assert len(NAMES) == 23


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_the_published_code(name, capsys):
    verdict = check_golden.report(GOLDEN / f"{name}.npz")
    assert verdict == "PASS", capsys.readouterr().out


def copy(name, folder):
    for suffix in ("npz", "json"):
        shutil.copy(GOLDEN / f"{name}.{suffix}", folder)
    return folder / f"{name}.npz"


def test_wrong_weights_fail(tmp_path, capsys):
    file = copy("dm_cross_h1_kv", tmp_path)
    with np.load(file) as archive:
        arrays = dict(archive)
    arrays["cross_attention/mlp/linear|b"] += 1e-3
    np.savez(file, **arrays)
    assert check_golden.main([str(tmp_path)]) == 1
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["missing", "unknown", "nan"])
def test_names_must_match(tmp_path, capsys, change):
    file = copy("dm_self_h1_w4", tmp_path)
    with np.load(file) as archive:
        arrays = dict(archive)
    if change == "missing":
        del arrays["self_attention/mlp/linear|b"]
    elif change == "unknown":
        arrays["self_attention/mlp/linear_2|b"] = np.zeros(3)
    else:
        arrays["self_attention/mlp/linear|b"] *= np.nan
    np.savez(file, **arrays)
    assert check_golden.main([str(tmp_path)]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_unknown_kinds_fail_and_known_ones_are_named(tmp_path, capsys):
    file = copy("dm_self_h1_w4", tmp_path)
    call = file.with_suffix(".json")
    text = call.read_text()
    call.write_text(text.replace('"self_attention_block"', '"optical_flow"'))
    assert check_golden.main([str(tmp_path)]) == 0
    assert "not built yet: optical flow" in capsys.readouterr().out
    call.write_text(text.replace('"self_attention_block"', '"mystery"'))
    assert check_golden.main([str(tmp_path)]) == 1
    assert "unknown kind 'mystery'" in capsys.readouterr().out


def test_an_empty_folder_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit):
        check_golden.main([str(tmp_path)])
    assert "must hold .npz files" in capsys.readouterr().err
