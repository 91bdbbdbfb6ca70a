"""Convolutions in 8-bit integers: what is rounded, how far off that is, and that it compiles."""

import pytest
import torch
from torch import nn

from dhpe_ros.engines import aoti, graphs, identity
from dhpe_ros.engines.networks import precisions
from dhpe_ros.engines.quantise import quantised

CPU = torch.device("cpu")
QUANTIZE = "quantized_decomposed.quantize_per_tensor.default"


class Net(nn.Module):
    """A first convolution, a block with a skip, and a last convolution."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        widths = ((3, 16), (16, 16), (16, 16), (16, 4))
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in widths)
        nn.init.zeros_(self.convolutions[1].weight[3])  # a channel that says nothing

    def forward(self, x):
        first, second, third, last = self.convolutions
        x = first(x).relu()
        return last((x + third(second(x).relu())).relu())


@pytest.fixture(scope="module")
def examples():
    return torch.rand(4, 3, 24, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def program(examples):
    return graphs.export(Net().eval(), (examples[:1],))


@pytest.fixture(scope="module")
def rounded(program, examples):
    return quantised(program, examples.split(1))


def targets(program):
    return [str(node.target) for node in program.graph.nodes]


@torch.no_grad()
def test_the_convolutions_between_the_first_and_the_last_are_rounded(program, rounded, examples):
    found = targets(rounded)
    assert found.count(QUANTIZE) == 2
    assert found.count("quantized_decomposed.dequantize_per_channel.default") == 2
    whole = [b for b in rounded.state_dict.values() if b.dtype is torch.int8]
    assert [tuple(b.shape) for b in whole] == [(16, 16, 3, 3)] * 2
    assert max(int(b.abs().max()) for b in whole) == 127
    for x in examples.split(1):
        exact, near = program.module()(x), rounded.module()(x)
        assert 0 < (near - exact).abs().max() < 0.03 * exact.abs().max()
    assert QUANTIZE not in targets(program)


@torch.no_grad()
def test_what_exceeds_the_examples_is_cut_off(program, examples):
    tight = quantised(program, (0.1 * examples[:1],))
    exact, cut = program.module()(examples[:1]), tight.module()(examples[:1])
    assert (cut - exact).abs().max() > 0.1 * exact.abs().max()


@torch.no_grad()
def test_examples_of_nothing_but_zeros_do_no_harm(program, examples):
    silent = quantised(program, (torch.zeros(1, 3, 24, 32),))
    assert silent.module()(examples[:1]).isfinite().all()


@torch.no_grad()
def test_the_compiled_integers_are_the_rounded_numbers(rounded, examples, tmp_path):
    if reason := aoti.unfit(CPU, "int8"):
        pytest.skip(reason)
    aoti.compile_program(rounded, (examples[:1],), "int8", tmp_path / "net.pt2")
    engine = aoti.load(tmp_path / "net.pt2", (examples[:1],))
    for x in examples.split(1):
        (ours,), expected = engine(x), rounded.module()(x)
        torch.testing.assert_close(ours, expected, atol=0.01 * expected.abs().max(), rtol=0)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("x86_64 avx512f avx512_vnni", ("int8", "fp32", "bf16")),
        ("x86_64 avx512f avx512_vnni amx_bf16", ("bf16", "int8", "fp32")),
        ("x86_64 GenuineIntel avx512f avx512_vnni avx512_bf16", ("int8", "fp32", "bf16")),
        ("x86_64 AuthenticAMD avx512f avx512_vnni avx512_bf16", ("int8", "bf16", "fp32")),
        ("x86_64 avx2 avx_vnni", ("int8", "fp32")),
        ("x86_64 avx2", ("fp32",)),
    ],
)
def test_a_processor_gets_the_precision_that_it_is_fastest_in(flags, expected, monkeypatch):
    for module in (aoti, identity):
        monkeypatch.setattr(module, "instruction_set", lambda: flags)
    able = "avx512f" in flags
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: able)
    assert precisions(CPU) == expected


def test_integers_are_for_processors():
    assert "int8 is for CPUs" in aoti.unfit(torch.device("cuda"), "int8")
