"""A graph's convolutions in 8-bit integers, for processors that multiply them fastest.

Numbers that go into a convolution are rounded to 256 steps between the least and the most that
examples brought there, weights to 255 between an output channel's largest and its opposite; sums
are exact (Jacob et al., CVPR 2018). The first and the last convolutions stay in floats: rounding
harms their inputs and outputs most, and they are small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Interpreter, Node

_CONVOLUTIONS = (torch.ops.aten.conv2d.default, torch.ops.aten.convolution.default)
_LEAST_STEP = 1e-9  # where all numbers are zero


@torch.no_grad()
def quantised(program: ExportedProgram, examples: Iterable[Tensor]) -> ExportedProgram:
    """The program with its convolutions' numbers rounded as integers are; compilers do the rest.

    ``examples`` are inputs as the program will get them; what exceeds theirs is cut off.
    """
    import torch.ao.quantization.fx._decomposed  # registers the rounding operators

    module = program.module()
    inner = _inner_convolutions(module)
    spans = _spans({node.args[0] for node in inner}, module, examples)
    rounded = {source: _round_numbers(source, *span) for source, span in spans.items()}
    for number, node in enumerate(inner):
        node.update_arg(0, rounded[node.args[0]])
        node.update_arg(1, _round_weights(module, node, f"quantised_{number}"))
    module.graph.eliminate_dead_code()
    module.recompile()
    return torch.export.export(module, *program.example_inputs)


def _inner_convolutions(module: GraphModule) -> list[Node]:
    """Those that have a convolution before and another one after them."""
    nodes = list(module.graph.nodes)
    between = _reached(nodes, lambda node: node.all_input_nodes)
    between &= _reached(nodes[::-1], lambda node: node.users)
    return [node for node in nodes if node.target in _CONVOLUTIONS and node in between]


def _reached(nodes: Sequence[Node], nearer: Callable[[Node], Iterable[Node]]) -> set[Node]:
    """The nodes that lie beyond a convolution; ``nearer`` ones come earlier in ``nodes``."""
    reached: set[Node] = set()
    for node in nodes:
        if any(other in reached or other.target in _CONVOLUTIONS for other in nearer(node)):
            reached.add(node)
    return reached


def _spans(
    of: set[Node], module: GraphModule, examples: Iterable[Tensor]
) -> dict[Node, tuple[float, float]]:
    """The least and the most value of nodes over all examples, zero included."""
    spans = dict.fromkeys(of, (0.0, 0.0))

    class Watch(Interpreter):
        def run_node(self, node: Node) -> Any:
            result = super().run_node(node)
            if node in of:
                least, most = (float(value) for value in result.aminmax())
                spans[node] = min(spans[node][0], least), max(spans[node][1], most)
            return result

    for example in examples:
        Watch(module).run(example)
    return spans


def _round_numbers(source: Node, least: float, most: float) -> Node:
    """Round the output of ``source`` to the nearest of 256 steps."""
    ops, graph = torch.ops.quantized_decomposed, source.graph
    step = max((most - least) / 255, _LEAST_STEP)
    how = (step, round(-least / step), 0, 255, torch.uint8)
    with graph.inserting_after(source):
        whole = graph.call_function(ops.quantize_per_tensor.default, (source, *how))
    with graph.inserting_after(whole):
        return graph.call_function(ops.dequantize_per_tensor.default, (whole, *how))


def _round_weights(module: GraphModule, convolution: Node, name: str) -> Node:
    """A convolution's weights from integers and a step for each output channel."""
    ops, graph = torch.ops.quantized_decomposed, module.graph
    weights = module.get_parameter(convolution.args[1].target).contiguous()
    steps = (weights.abs().amax((1, 2, 3)) / 127).clamp(min=_LEAST_STEP)
    zeros = torch.zeros(len(steps), dtype=torch.int64)
    how = (0, -127, 127, torch.int8)  # the channels' axis, and the range
    whole = ops.quantize_per_channel(weights, steps, zeros, *how)
    parts = {f"{name}_weights": whole, f"{name}_steps": steps, f"{name}_zeros": zeros}
    with graph.inserting_before(convolution):
        for part, value in parts.items():
            module.register_buffer(part, value)
        read = [graph.get_attr(part) for part in parts]
        return graph.call_function(ops.dequantize_per_channel.default, (*read, *how))
