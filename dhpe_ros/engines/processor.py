"""Features of the processor, as the kernel of the operating system names them."""

from __future__ import annotations

import re
from pathlib import Path

import torch


def features() -> set[str]:
    """Maker and instruction sets of the processor; empty where nothing says so."""
    try:
        about = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return set()
    return set(" ".join(re.findall(r"^(?:vendor_id|flags|Features)\s*:(.*)$", about, re.M)).split())


def has_bf16() -> bool:
    """True where the processor multiplies bf16 numbers by itself."""
    return bool(features() & {"avx512_bf16", "amx_bf16", "bf16"})


def has_fast_bf16(device: torch.device) -> bool:
    """True where convolutions are faster in bf16 than in fp32.

    They are on a CPU that multiplies matrices of bf16 as such (AMX), and on AMD's with bf16
    instructions; Intel's that have those alone are no faster by them (docs/how-to/engines.md).
    """
    full_rate = features() >= {"AuthenticAMD", "avx512_bf16"}
    return device.type == "cuda" or "amx_bf16" in features() or full_rate


def has_fast_int8() -> bool:
    """True where the processor sums products of 8-bit integers in one instruction."""
    return bool(features() & {"avx512_vnni", "avx_vnni", "amx_int8"})
