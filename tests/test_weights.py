"""Reading weight files."""

import argparse
import hashlib

import pytest
import torch
from safetensors.torch import save_file

from segshift import weights
from segshift.errors import SegShiftError

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


@pytest.mark.parametrize("name", ["some.pth", "some.safetensors"])
def test_both_formats_give_the_same(tmp_path, name):
    file = tmp_path / name
    save_file(STATE, file) if file.suffix == ".safetensors" else torch.save(STATE, file)
    read = weights.read(file)
    assert set(read) == set(STATE)
    assert all(torch.equal(read[key], STATE[key]) for key in STATE)


def test_a_command_line_beside_the_weights_is_read(tmp_path):
    torch.save({"model": STATE, "args": argparse.Namespace(lr=1.0)}, tmp_path / "some.pth")
    assert torch.equal(weights.read(tmp_path / "some.pth")["model"]["a.bias"], STATE["a.bias"])


@pytest.mark.parametrize("name", ["some.pth", "some.safetensors"])
def test_a_damaged_file_is_named(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(b"not weights")
    with pytest.raises(SegShiftError, match=f"{name} cannot be read"):
        weights.read(file)


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    torch.save({"a.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(SegShiftError, match=r"evil\.pth cannot be read"):
        weights.read(tmp_path / "evil.pth")
    assert capsys.readouterr().out == ""


def test_a_missing_file_and_a_bare_tensor_are_named(tmp_path):
    with pytest.raises(SegShiftError, match=r"none\.pth does not exist"):
        weights.read(tmp_path / "none.pth")
    torch.save(torch.ones(2), tmp_path / "bare.pth")
    with pytest.raises(SegShiftError, match=r"bare\.pth holds a Tensor"):
        weights.read(tmp_path / "bare.pth")


def test_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert weights.sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()
