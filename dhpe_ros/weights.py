"""Where weights and hand models are, and how networks are saved and loaded.

A weights file is safetensors; its metadata holds the configuration that the tensors belong to. It
is loaded strictly: no missing, unexpected or misshapen tensor passes, nor one that is not finite.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dhpe_ros.evidence import EvidenceNetwork, build_evidence
from dhpe_ros.mesh_estimator import MeshEstimator
from dhpe_ros.networks.localiser import LocaliserNetwork
from dhpe_ros.shared_files import shared_file

FORMAT_VERSION = 1
_LOCALISER = "localiser"


@dataclass
class Networks:
    """The trained networks of a profile and what is known of their training."""

    evidence: EvidenceNetwork
    mesh_estimator: MeshEstimator
    profile: str
    training: dict[str, object]

    def modules(self) -> tuple[EvidenceNetwork, MeshEstimator]:
        return self.evidence, self.mesh_estimator


def build_networks(profile: str) -> Networks:
    """The untrained networks of ``lite`` or ``full``."""
    hidden = {"full": 512, "lite": 256}[profile]
    return Networks(build_evidence(profile), MeshEstimator(hidden), profile, {})


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
        "training": dict(training),
    }
    _write(Path(path), about, _tensors(networks))


def load_networks(path: str | Path, profile: str, may_lack: str = "") -> Networks:
    """Load the networks of ``profile``, ready for inference, in float32.

    Tensors of the part ``may_lack`` may be missing, and are then untrained. Raises
    ``FileNotFoundError`` or ``ValueError`` that names the file and what is wrong with it.
    """
    about, tensors = _read(Path(path), profile)
    evidence = build_evidence(profile)
    mesh_estimator = MeshEstimator(about["hidden"], about.get("refiner", True))
    networks = Networks(evidence, mesh_estimator, profile, about["training"])
    remedy = "; weights of an older version: train what they lack with learning.only"
    _load_strictly(_tensors(networks), tensors, path, may_lack, remedy)
    for module in networks.modules():
        module.eval().requires_grad_(False)
    return networks


def save_localiser(
    network: LocaliserNetwork, path: str | Path, training: Mapping[str, object]
) -> None:
    """As ``save_networks``, of the network that finds hands."""
    about = {"profile": _LOCALISER, "training": dict(training)}
    _write(Path(path), about, network.state_dict())


def load_localiser(path: str | Path) -> LocaliserNetwork:
    """As ``load_networks``, of the network that finds hands."""
    _, tensors = _read(Path(path), _LOCALISER)
    network = LocaliserNetwork()
    _load_strictly(network.state_dict(), tensors, path)
    return network.eval().requires_grad_(False)


def _write(path: Path, about: Mapping[str, object], tensors: Mapping[str, torch.Tensor]) -> None:
    tensors = {
        name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in tensors.items()
    }
    about = {"format_version": FORMAT_VERSION, **about}
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata={"dhpe_ros": json.dumps(about)})
    partial.replace(path)


def _read(path: Path, profile: str) -> tuple[dict, dict[str, torch.Tensor]]:
    """What the file says of itself, and its tensors."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("dhpe_ros", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise ValueError(
            f"{path}: not a readable weights file ({error}); fetch or train it again"
        ) from error
    if about.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path}: weights of format {about.get('format_version')}, this version reads "
            f"{FORMAT_VERSION}; get the weights that belong to it"
        )
    if about["profile"] != profile:
        raise ValueError(
            f"{path}: weights of the {about['profile']} profile, but {profile} was asked for"
        )
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
