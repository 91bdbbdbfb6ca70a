"""Paths of weights and hand models; saving and loading of networks.

A weights file is safetensors; its metadata holds the configuration that the tensors belong to, and
a checksum of both. It is loaded strictly: no missing, unexpected or misshapen tensor passes, nor
one that is not finite, nor a file with a flipped bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dhpe_ros.files.resources import shared_file
from dhpe_ros.hand.parameters import START_SCALE
from dhpe_ros.networks.evidence import EvidenceNetwork, LiteEvidence, build_evidence
from dhpe_ros.networks.localiser import LocaliserNetwork, build_localiser
from dhpe_ros.networks.mesh_estimator import MeshEstimator
from dhpe_ros.networks.trunks import DEFAULT_TRUNK, LITE_TRUNKS

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

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor of the weights file, by name."""
        parts = {"evidence": self.evidence, "mesh_estimator": self.mesh_estimator}
        return {
            f"{part}.{name}": tensor
            for part, module in parts.items()
            for name, tensor in module.state_dict().items()
        }


@dataclass(frozen=True)
class _About:
    """The notes in a weights file."""

    profile: str
    training: dict
    hidden: int = 0  # width of the mesh network; a localiser has none
    refiner: bool = True
    canonical: bool = False
    features: bool = True
    trunk: str = DEFAULT_TRUNK
    input_size: int = 0  # 0: the trunk's own
    start_scale: float = 8.0  # START_SCALE when they were learnt; files of before lack it

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
        types = get_type_hints(cls)
        values = {name: value for name, value in values.items() if name in types}
        for name, value in values.items():
            _expect(name, value, type(value) is types[name], f"a {types[name].__name__}")
        for name in ["profile", "training"] + ["hidden"] * (values.get("profile") != _LOCALISER):
            if name not in values:
                raise ValueError(f"its notes lack {name!r}")
        about = cls(**values)
        hidden, trunk, size = about.hidden, about.trunk, about.input_size
        _expect("hidden", hidden, 0 <= hidden <= _WIDEST, f"at most {_WIDEST}")
        _expect("trunk", trunk, trunk in LITE_TRUNKS, " or ".join(LITE_TRUNKS))
        right = size % 32 == 0 and 0 <= size <= _LARGEST
        _expect("input_size", size, right, f"a multiple of 32 up to {_LARGEST}")
        _expect("start_scale", about.start_scale, 1 <= about.start_scale <= 100, "1 to 100")
        return about


def _expect(name: str, value: object, right: bool, expected: str) -> None:
    if not right:
        raise ValueError(f"its notes say {name} {value!r:.40}, {expected} is right")


def build_networks(profile: str, trunk: str = "", input_size: int = 0) -> Networks:
    """The untrained networks of ``lite`` or ``full``; the rest as for ``build_evidence``."""
    evidence = build_evidence(profile, trunk, input_size).float()
    lifts = profile == "lite"
    estimator = MeshEstimator(hidden=512, canonical=lifts, features=not lifts).float()
    return Networks(evidence, estimator, profile, {})


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
    evidence, mesh_estimator = networks.modules()
    about = {
        "profile": networks.profile,
        "hidden": mesh_estimator.hidden,
        "refiner": mesh_estimator.refiner is not None,
        "canonical": mesh_estimator.canonical,
        "features": mesh_estimator.features,
        "start_scale": START_SCALE,
    }
    if isinstance(evidence, LiteEvidence):
        about |= {"trunk": evidence.trunk_name, "input_size": evidence.input_size}
    _write(Path(path), {**about, "training": dict(training)}, networks.tensors())


def load_networks(path: str | Path, profile: str, may_lack: str = "") -> Networks:
    """Load the networks of ``profile``, ready for inference, in float32.

    Tensors of the part ``may_lack`` may be missing, and are then untrained. Raises
    ``FileNotFoundError`` or ``ValueError`` that names the file and what is wrong with it.
    """
    about, tensors = _read(Path(path), profile)
    evidence = build_evidence(profile, about.trunk, about.input_size)
    mesh_estimator = MeshEstimator(about.hidden, about.refiner, about.canonical, about.features)
    networks = Networks(evidence, mesh_estimator, profile, about.training)
    _load_strictly(networks.tensors(), tensors, path, may_lack)
    mesh_estimator.change_scale(START_SCALE / about.start_scale)
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


def _write(path: Path, about: Mapping[str, object], tensors: Mapping[str, torch.Tensor]) -> None:
    halves = {
        name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in tensors.items()
    }
    text = json.dumps({"format_version": FORMAT_VERSION, **about})
    partial = path.with_name(path.name + ".partial")
    save_file(halves, partial, metadata={_ABOUT: text, _CHECKSUM: _checksum(text, halves)})
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
        if not (checksum == _checksum(text, tensors) if checksum else _ships(path)):
            raise ValueError("damaged: its checksum is another or lost; fetch or train it again")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # safetensors and torch have many names for a broken file
        raise ValueError(
            f"{path}: not a readable weights file ({error}); fetch or train it again"
        ) from error
    return about, tensors


def _load_strictly(
    expected: Mapping[str, torch.Tensor],
    tensors: Mapping[str, torch.Tensor],
    path: str | Path,
    may_lack: str = "",
) -> None:
    """Copy ``tensors`` into ``expected``, which they must match one by one."""
    lacking = expected.keys() - tensors.keys()
    missing = {name for name in lacking if not f"{name}.".startswith(f"{may_lack}.")}
    if missing:
        raise ValueError(
            f"{path}: lacks {min(missing)} ({len(missing)} in all); weights of an older version: "
            "train them again, or with learning.only what a profile's lack"
        )
    for name, tensor in tensors.items():
        if name not in expected:
            raise ValueError(f"{path}: has the unknown tensor {name}")
        wanted = tuple(expected[name].shape)
        if tensor.shape != wanted:
            raise ValueError(f"{path}: {name} must have shape {wanted}, got {tuple(tensor.shape)}")
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: {name} holds numbers that are not finite; train it again")
        expected[name].copy_(tensor)
