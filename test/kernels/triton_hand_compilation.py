"""Compile every launch of the hand layer for graphics cards that are not there.

A program of its own, `python triton_hand_compilation.py 90 float32 87 float64`; prints what
`triton_compilation` does.
"""

import sys
from unittest import mock

import torch
import triton
from triton.runtime import driver
from triton_compilation import AbsentCard, compile_only

from dhpe_ros.hand.kernels import triton_hand
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path


def main():
    hand = HandModel(hand_model_path())
    for architecture, dtype in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        driver.set_active(AbsentCard(architecture=int(architecture)))
        for kernel in vars(triton_hand).values():
            if isinstance(kernel, triton.JITFunction):
                kernel.device_caches.clear()
        layer = hand.to(getattr(torch, dtype))
        inputs = [layer.template.new_zeros(1, *size) for size in ((15, 3), (10,), (3, 4))]
        with mock.patch.object(triton.JITFunction, "__getitem__", compile_only):
            *pull, kept = triton_hand.pose_hands(layer.tensors, *inputs)
            triton_hand.pose_hands_backward(layer.tensors, inputs, kept, pull)


if __name__ == "__main__":
    main()
