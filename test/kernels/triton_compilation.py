"""Compile every launch of the silhouette for graphics cards that are not there.

A program of its own, `python triton_compilation.py 90 87`, as Triton has one driver per process.
Prints a line per kernel: target, name, and how many multiply-adds are fused.
"""

import sys
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from dhpe_ros.rendering import triton_silhouette
from dhpe_ros.rendering.topology import topology_of


class AbsentCard(mock.Mock):
    """A driver that knows its card's architecture and nothing else."""

    def get_current_device(self):
        return 0

    def get_current_target(self):
        return GPUTarget("cuda", self.architecture, 32)


def compile_only(kernel, grid):
    """In place of `kernel[grid]`: what compiles the kernel for its arguments and reports it."""

    def launch(*args, **options):
        compiled = kernel.run(*args, grid=grid, warmup=True, **options)
        assert compiled.asm["cubin"]
        fused = compiled.asm["ptx"].count("fma.")
        print(compiled.metadata.target.arch, compiled.metadata.name, fused)

    return launch


def main():
    for architecture in map(int, sys.argv[1:]):
        driver.set_active(AbsentCard(architecture=architecture))
        for kernel in KERNELS:
            kernel.device_caches.clear()
        with mock.patch.object(triton.JITFunction, "__getitem__", compile_only):
            square = topology_of(torch.tensor([[0, 1, 2], [0, 2, 3]]), 4)
            vertices, shape = torch.zeros(1, 4, 3), (32, 32)
            mask, *lines = triton_silhouette._cover(vertices, square, shape)
            upstream = torch.zeros_like(mask)
            triton_silhouette._pull(vertices, mask, lines, upstream, square, shape, 1.0, 1.0)


KERNELS = [
    getattr(module, name)
    for module in (triton_silhouette.kernels, triton_silhouette.outline)
    for name in vars(module)
    if isinstance(getattr(module, name), triton.JITFunction)
]

if __name__ == "__main__":
    main()
