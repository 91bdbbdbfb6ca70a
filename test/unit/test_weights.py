"""Weights files: damage is found by their checksum, and their notes are one checked structure."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from fuzzing import fuzz, in_child
from safetensors import safe_open
from safetensors.torch import save_file

from dhpe_ros.networks import weights
from dhpe_ros.networks.localiser import build_localiser
from dhpe_ros.networks.weights import load_localiser, load_networks, localiser_path, save_localiser

FOLDER = Path(__file__).resolve().parents[2] / "weights"


def flipped(path):
    """Flip one bit of a number."""
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 0x10
    path.write_bytes(data)
    return path


def test_each_file_that_ships_has_a_checksum_in_itself_or_beside_it():
    lines = (FOLDER / "checksums.sha256").read_text().splitlines()
    beside = {name: digest for digest, name in (line.split() for line in lines)}
    for file in FOLDER.glob("*.safetensors"):
        with safe_open(file, framework="pt") as content:
            within = "sha256" in content.metadata()
        assert within or beside[file.name] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_flipped_bit_in_a_copy_of_what_ships_is_found(tmp_path):
    copy = tmp_path / "copy.safetensors"
    shutil.copy(localiser_path(), copy)
    load_localiser(copy)
    with pytest.raises(ValueError, match=r"copy\.safetensors: damaged: its checksum is .* lost"):
        load_localiser(flipped(copy))


def test_a_flipped_bit_in_weights_of_one_s_own_is_found(tmp_path):
    path = tmp_path / "own.safetensors"
    save_localiser(build_localiser(), path, {"steps": 3})
    load_localiser(path)
    with pytest.raises(ValueError, match=r"own\.safetensors: damaged: its checksum is another"):
        load_localiser(flipped(path))


def test_other_weights_need_their_checksum(tmp_path):
    path = tmp_path / "old.safetensors"
    about = {"format_version": 1, "profile": "localiser", "training": {}}
    save_file(build_localiser().state_dict(), path, metadata={"dhpe_ros": json.dumps(about)})
    with pytest.raises(ValueError, match=r"old\.safetensors: damaged: its checksum is .* lost"):
        load_localiser(path)


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        (None, "weights of format None"),
        ("no json", "its notes are no JSON"),
        ("[" * 100_000, "its notes are no JSON"),
        ([1], "its notes must be a mapping, got a list"),
        ({"format_version": 2}, "weights of format 2, this version reads 1"),
        ({"format_version": 1}, "its notes lack 'profile'"),
        ({"format_version": 1, "profile": ["lite"]}, r"profile \['lite'\], a str is right"),
        ({"format_version": 1, "profile": "lite"}, "its notes lack 'training'"),
        ({"format_version": 1, "profile": "lite", "training": {}}, "its notes lack 'hidden'"),
        ({"format_version": 1, "profile": "lite", "training": [], "hidden": 256},
         r"training \[\], a dict is right"),
        ({"format_version": 1, "profile": "lite", "training": {}, "hidden": 10**9},
         "hidden 1000000000, at most 4096"),
        ({"format_version": 1, "profile": "lite", "training": {}, "hidden": 256, "refiner": 1},
         "refiner 1, a bool is right"),
        ({"format_version": 1, "profile": "lite", "training": {}, "hidden": 256, "trunk": "oak"},
         "trunk 'oak', pyramid or efficientnet_lite0 is right"),
        ({"format_version": 1, "profile": "lite", "training": {}, "hidden": 256, "input_size": 100},
         "input_size 100, a multiple of 32 up to 1024"),
        ({"format_version": 1, "profile": "full", "training": {}, "hidden": 256},
         "weights of the full profile, but lite was asked for"),
    ],
)  # fmt: skip
def test_wrong_notes_are_one_line_that_names_the_file(tmp_path, notes, said):
    path = tmp_path / "w.safetensors"
    text = notes if isinstance(notes, str) else json.dumps(notes)
    metadata = None if notes is None else {"dhpe_ros": text}
    save_file({"a": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(ValueError, match=rf"w\.safetensors: .*{said}") as caught:
        load_networks(path, "lite")
    assert len(str(caught.value)) < 400


def fuzz_weights():
    tensors = {"a": torch.arange(4.0).half(), "b": torch.ones(2, 3, dtype=torch.int64)}
    about = {"profile": "localiser", "training": {"steps": 7}}

    def read(path):
        notes, read = weights._read(path, "localiser")
        assert notes.training == {"steps": 7}
        assert sorted(read) == ["a", "b"] and all(torch.equal(read[n], tensors[n]) for n in read)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.safetensors"
        weights._write(path, about, tensors)
        seed = path.read_bytes()
    fuzz(read, [seed], ValueError, rounds=500)


def test_mutated_weights_are_refused_or_what_they_were():
    in_child("test_weights.fuzz_weights()")
