"""Identity of a compiled network: the files that it was made of, and the command that makes it."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path

from dhpe_ros.config import ModelConfig
from dhpe_ros.engines import graphs
from dhpe_ros.networks.weights import hand_model_path, localiser_path, weights_path
from dhpe_ros.system.programs import command


def file_name(network: str, backend: str, precision: str, model: ModelConfig) -> str:
    """Name of the file of a compiled network, which no other weights or graphs have.

    Raises as `weights_path` does.
    """
    weights, hand = model.weights or weights_path(model.profile), model.hand_model
    sources = {
        "evidence": (weights,),
        "mesh": (weights, hand or hand_model_path()),
        "localiser": (model.localiser or localiser_path(),),
    }[network]
    layer = model.hand_layer if network == "mesh" else ""
    digest = hashlib.sha256(f"{graphs.VERSION} {layer}".encode())
    for source in sources:
        digest.update(hashlib.sha256(Path(source).read_bytes()).digest())
    return f"{network}-{backend}-{precision}-{digest.hexdigest()[:12]}.zip"


def export_command(model: ModelConfig, backend: str, precision: str) -> str:
    """Command that builds the networks of this configuration."""
    options = {"profile": model.profile, "format": backend, "precision": precision}
    defaults = {field.name: field.default for field in fields(ModelConfig)}
    for option, name in (
        ("weights", "weights"), ("localiser", "localiser"), ("hand-model", "hand_model"),
        ("hand-layer", "hand_layer"), ("device", "device"), ("output", "engines"),
    ):  # fmt: skip
        if getattr(model, name) != defaults[name]:
            options[option] = getattr(model, name)
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return command("export", *words)
