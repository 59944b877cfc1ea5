"""Files of detectors: those that are none, the bytes of those that are, and what loading one leaves alone."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tasks.yard.detector.network import load_network, save_network, start_file, trained_size
from tasks.yard.step import BadInput
from tests.tasks.brake_coast import scenes

REPO = Path(__file__).parents[4]


class Attack:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "content",
    [b"", b"<html>Sign in</html>", saved({"a": torch.zeros(2)}), saved([1, 2]), pickle.dumps({"model": 1})],
    ids=["empty", "html", "state-dict", "list", "pickle"],
)
def test_a_file_that_is_no_model_is_named(tmp_path, content):
    path = tmp_path / "best.pt"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"best\.pt: .*Ultralytics detection model"):
        load_network(path)


def test_a_cut_model_is_named(tmp_path):
    path = scenes.write_weights(tmp_path / "w.pt")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BadInput, match=r"w\.pt: not a model"):
        load_network(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_weights_file_is_not_run(tmp_path):
    for content in (saved({"model": Attack(tmp_path / "owned")}), pickle.dumps(Attack(tmp_path / "owned"))):
        (tmp_path / "best.pt").write_bytes(content)
        with pytest.raises(BadInput):
            load_network(tmp_path / "best.pt")
    assert not (tmp_path / "owned").exists()


def test_unknown_weights_and_networks_are_named():
    for name in ("nowhere/best.pt", "yolo99.pt", "nowhere.yaml"):
        with pytest.raises(BadInput, match=name):
            start_file(name)
    assert start_file("yolo12n.yaml") == "yolo12n.yaml"


@pytest.mark.slow
def test_a_detector_s_file_says_the_size_it_was_trained_on(tmp_path):
    scenes.write_weights(tmp_path / "small.pt")
    assert trained_size(tmp_path / "small.pt") == 64
    network = load_network(tmp_path / "small.pt")
    for name, said, size in (("tall", {"imgsz": [320, 512]}, 512), ("silent", {}, 640)):
        save_network(network, tmp_path / f"{name}.pt", said)
        assert trained_size(tmp_path / f"{name}.pt") == size


def test_equal_networks_are_equal_bytes(tmp_path):
    scenes.write_weights(tmp_path / "w.pt")
    for name in ("first.pt", "second.pt"):
        save_network(load_network(tmp_path / "w.pt"), tmp_path / name, {"imgsz": 64})
    assert (tmp_path / "first.pt").read_bytes() == (tmp_path / "second.pt").read_bytes()
    assert str(REPO).encode() not in (tmp_path / "w.pt").read_bytes()  # archive members are stored, not compressed


@pytest.mark.slow
def test_home_and_network_are_left_alone(tmp_path):
    code = """
import socket
def refuse(*a, **k): raise AssertionError("network access")
socket.getaddrinfo = socket.socket.connect = refuse
from tasks.yard.detector import look, network, scores, trainer
network.settle()
from ultralytics.utils import SETTINGS, ONLINE
assert not ONLINE and not SETTINGS["mlflow"] and not SETTINGS["dvc"] and not SETTINGS["sync"]
"""
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "MPLCONFIGDIR": str(REPO / "data/.cache")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPO, env=os.environ | home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == "" and not list(tmp_path.iterdir())
