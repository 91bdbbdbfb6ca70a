"""Paths of weights and hand models; saving and loading of networks.

A weights file is safetensors; its metadata holds the configuration that the tensors belong to, and
a checksum of both. It is loaded strictly: no missing, unexpected or misshapen tensor passes, nor
one that is not finite, nor a file with a flipped bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dhpe_ros.detection.network import LocaliserNetwork, build_localiser
from dhpe_ros.files.resources import shared_file
from dhpe_ros.networks.evidence import LITE_TRUNKS, EvidenceNetwork, LiteEvidence, build_evidence
from dhpe_ros.networks.mesh_estimator import MeshEstimator
from dhpe_ros.system.programs import module_command, run_program

FORMAT_VERSION = 1
_LOCALISER = "localiser"
_ABOUT, _CHECKSUM = "dhpe_ros", "sha256"  # keys of the metadata
_WIDEST = 4096  # of the mesh network
_LARGEST = 1024  # pixels of an input


@dataclass
class Networks:
    """Trained networks of a profile and the notes on their training."""

    evidence: EvidenceNetwork
    mesh_estimator: MeshEstimator
    profile: str
    training: dict[str, object]

    def modules(self) -> tuple[EvidenceNetwork, MeshEstimator]:
        return self.evidence, self.mesh_estimator


@dataclass(frozen=True)
class _About:
    """The notes in a weights file."""

    profile: str
    training: dict[str, object]
    hidden: int = 0  # width of the mesh network; a localiser has none
    refiner: bool = True
    trunk: str = "pyramid"
    input_size: int = 0  # 0: the trunk's own

    @classmethod
    def parse(cls, text: str) -> _About:
        """The notes from JSON. Raises ``ValueError`` that says what is wrong with them."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"its notes are no JSON ({error})") from error
        if not isinstance(values, dict):
            raise ValueError(f"its notes must be a mapping, got a {type(values).__name__}")
        version = values.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ValueError(
                f"weights of format {version!r:.40}, this version reads {FORMAT_VERSION}; get the "
                "weights that belong to it"
            )
        types = {
            "profile": str, "training": dict, "hidden": int, "refiner": bool, "trunk": str,
            "input_size": int,
        }  # fmt: skip
        needed = ("profile", "training", *(["hidden"] * (values.get("profile") != _LOCALISER)))
        for name, kind in types.items():
            if name not in values and name in needed:
                raise ValueError(f"its notes lack {name!r}")
            if name in values and type(values[name]) is not kind:
                raise ValueError(
                    f"its notes say {name} {values[name]!r:.40}, a {kind.__name__} is right"
                )
        about = cls(**{name: value for name, value in values.items() if name in types})
        if not 0 <= about.hidden <= _WIDEST:
            raise ValueError(f"its notes say hidden {about.hidden}, at most {_WIDEST} is right")
        if about.trunk not in LITE_TRUNKS:
            raise ValueError(f"its notes name the unknown trunk {about.trunk!r:.40}")
        if about.input_size % 32 or not 0 <= about.input_size <= _LARGEST:
            raise ValueError(
                f"its notes say input_size {about.input_size}, a multiple of 32 up to {_LARGEST} "
                "is right"
            )
        return about


def build_networks(profile: str, trunk: str = "", input_size: int = 0) -> Networks:
    """The untrained networks of ``lite`` or ``full``; the rest as for ``build_evidence``."""
    hidden = {"full": 512, "lite": 256}[profile]
    evidence = build_evidence(profile, trunk, input_size).float()
    return Networks(evidence, MeshEstimator(hidden).float(), profile, {})


def hand_model_path() -> Path:
    """The open hand that ships."""
    return shared_file("weights/open_hand.npz")


def weights_path(profile: str) -> Path:
    """The weights that ship for a profile; raises ``FileNotFoundError`` with the remedy."""
    try:
        return shared_file(f"weights/{profile}.safetensors")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"the {profile} profile has no weights: {error}; install the package again, or name "
            "your own file with the setting model.weights"
        ) from None


def localiser_path() -> Path:
    """The weights that ship of the network that finds hands."""
    return shared_file("weights/localiser.safetensors")


def save_networks(networks: Networks, path: str | Path, training: Mapping[str, object]) -> None:
    """Write the tensors in half precision, with profile and ``training`` notes, atomically."""
    about = {
        "profile": networks.profile,
        "hidden": networks.mesh_estimator.hidden,
        "refiner": networks.mesh_estimator.refiner is not None,
        **_trunk(networks.evidence),
        "training": dict(training),
    }
    _write(Path(path), about, _tensors(networks))


def load_networks(path: str | Path, profile: str, may_lack: str = "") -> Networks:
    """Load the networks of ``profile``, ready for inference, in float32.

    Tensors of the part ``may_lack`` may be missing, and are then untrained. Raises
    ``FileNotFoundError`` or ``ValueError`` that names the file and what is wrong with it.
    """
    about, tensors = _read(Path(path), profile)
    evidence = build_evidence(profile, about.trunk, about.input_size)
    mesh_estimator = MeshEstimator(about.hidden, about.refiner)
    networks = Networks(evidence, mesh_estimator, profile, about.training)
    remedy = "; weights of an older version: train what they lack with learning.only"
    _load_strictly(_tensors(networks), tensors, path, may_lack, remedy)
    for module in networks.modules():
        module.float().eval().requires_grad_(False)  # whatever torch's default type is
    return networks


def save_localiser(
    network: LocaliserNetwork, path: str | Path, training: Mapping[str, object]
) -> None:
    """As ``save_networks``, of the network that finds hands."""
    about = {"profile": _LOCALISER, "trunk": network.trunk_name, "training": dict(training)}
    _write(Path(path), about, network.state_dict())


def load_localiser(path: str | Path) -> LocaliserNetwork:
    """As ``load_networks``, of the network that finds hands."""
    about, tensors = _read(Path(path), _LOCALISER)
    network = build_localiser(about.trunk)
    _load_strictly(network.state_dict(), tensors, path)
    return network.float().eval().requires_grad_(False)


def seal(path: str | Path) -> None:
    """Write the checksum into a file of before there was one, without looking for damage."""
    with safe_open(path, framework="pt") as file:
        about = (file.metadata() or {})[_ABOUT]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    _save(Path(path), about, tensors)


def _trunk(evidence: EvidenceNetwork) -> dict[str, object]:
    if not isinstance(evidence, LiteEvidence):
        return {}
    return {"trunk": evidence.trunk_name, "input_size": evidence.input_size}


def _write(path: Path, about: Mapping[str, object], tensors: Mapping[str, torch.Tensor]) -> None:
    tensors = {
        name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in tensors.items()
    }
    _save(path, json.dumps({"format_version": FORMAT_VERSION, **about}), tensors)


def _save(path: Path, about: str, tensors: dict[str, torch.Tensor]) -> None:
    partial = path.with_name(path.name + ".partial")
    metadata = {_ABOUT: about, _CHECKSUM: _checksum(about, tensors)}
    save_file(tensors, partial, metadata=metadata)
    partial.replace(path)


def _checksum(about: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of the notes, and of the names, types, shapes and numbers of the tensors."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _ships(path: Path) -> bool:
    """True for a file that is, byte by byte, one of those that ship without a checksum in them."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return digest in shared_file("weights/checksums.sha256").read_text().split()


def _read(path: Path, profile: str) -> tuple[_About, dict[str, torch.Tensor]]:
    """Notes and tensors of a file, checked."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text, checksum = metadata.get(_ABOUT, "{}"), metadata.get(_CHECKSUM)
        about = _About.parse(text)
        if about.profile != profile:
            raise ValueError(f"weights of the {about.profile} profile, but {profile} was asked for")
        if checksum is None and not _ships(path):
            raise ValueError(
                "damaged, or of before weights had checksums; if you trust it: "
                f"{module_command('dhpe_ros.networks.weights', str(path))}"
            )
        if checksum is not None and checksum != _checksum(text, tensors):
            raise ValueError("damaged: its checksum is another; fetch or train it again")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # safetensors and torch have many names for a broken file
        raise ValueError(
            f"{path}: not a readable weights file ({error}); fetch or train it again"
        ) from error
    return about, tensors


def _tensors(networks: Networks) -> dict[str, torch.Tensor]:
    return {
        f"{prefix}.{name}": tensor
        for prefix, module in zip(("evidence", "mesh_estimator"), networks.modules(), strict=True)
        for name, tensor in module.state_dict().items()
    }


def _in(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")


def _load_strictly(
    expected: Mapping[str, torch.Tensor],
    tensors: Mapping[str, torch.Tensor],
    path: str | Path,
    may_lack: str = "",
    remedy: str = "",
) -> None:
    """Copy ``tensors`` into ``expected``, which they must match one by one."""
    missing = {name for name in expected.keys() - tensors.keys() if not _in(name, may_lack)}
    for kind, names, advice in (
        ("lacks", missing, remedy),
        ("has the unknown tensor", tensors.keys() - expected.keys(), ""),
    ):
        if names:
            raise ValueError(f"{path}: {kind} {min(names)} ({len(names)} in all){advice}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{path}: {name} must have shape {tuple(expected[name].shape)}, "
                f"got {tuple(tensor.shape)}"
            )
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: {name} holds numbers that are not finite; train it again")
        expected[name].copy_(tensor)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write the checksum into weights files of before there was one."
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="safetensors, changed in place")
    for file in parser.parse_args().files:
        seal(file)


if __name__ == "__main__":
    run_program(main)
