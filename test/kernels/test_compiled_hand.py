"""The hand layer against a slow twin, and where its kernels must stand aside."""

import hand_oracle
import pytest
import torch
from torch.autograd import forward_ad

from dhpe_ros.hand.kernels import compiled_hand, hand_kernels
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path

FRAME = torch.eye(3, 4)


@pytest.fixture(scope="module")
def models():
    return {
        torch.float32: HandModel(hand_model_path()),
        torch.float64: HandModel(hand_model_path()).double(),
    }


@pytest.fixture
def model(models):
    return models[torch.float64]


@pytest.fixture
def no_kernels(monkeypatch):
    """Calling a kernel is an error."""

    def forbidden(*_):
        raise AssertionError("a kernel was called")

    monkeypatch.setattr(hand_kernels, "pose_meshes", forbidden)
    monkeypatch.setattr(hand_kernels, "pose_meshes_backward", forbidden)


def _inputs(batch, dtype=torch.float64):
    torch.manual_seed(batch)
    pose = 0.5 * torch.randn(batch, 15, 3, dtype=dtype)
    shape = torch.randn(batch, 10, dtype=dtype)
    frame = FRAME.to(dtype) + 0.3 * torch.randn(batch, 3, 4, dtype=dtype)
    return tuple(t.requires_grad_() for t in (pose, shape, frame))


def _gradients(hand, inputs):
    torch.manual_seed(0)
    return torch.autograd.grad(hand, inputs, [torch.randn(t.shape, dtype=t.dtype) for t in hand])


@pytest.mark.parametrize(("dtype", "exact"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("batch", [0, 1, 3, 17])
@pytest.mark.parametrize("plain", [False, True])
def test_values_and_gradients_are_those_of_the_formulas(models, dtype, exact, batch, plain):
    model, inputs = models[dtype], _inputs(batch, dtype)
    hand = (model.pose_hand_in_torch if plain else model.pose_hand)(*inputs)
    expected = hand_oracle.pose_hand(model, *inputs)
    assert plain or type(hand[0].grad_fn).__name__ == "PosedHandBackward"
    assert [t.shape for t in hand] == [(batch, 778, 3), (batch, 21, 3)]
    torch.testing.assert_close(hand, expected, atol=exact, rtol=exact)
    found, wanted = _gradients(hand, inputs), _gradients(expected, inputs)
    torch.testing.assert_close(found, wanted, atol=100 * exact, rtol=exact)


@pytest.mark.parametrize("plain", [False, True])
def test_gradients_match_finite_differences(model, plain):
    layer = model.pose_hand_in_torch if plain else model.pose_hand
    assert torch.autograd.gradcheck(lambda *inputs: layer(*inputs)[1], _inputs(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12, 1e-8, 1e-4, 3.14159265, 6.2831853, 1e4, 1e12])
def test_any_bend_gives_finite_meshes_and_gradients(models, dtype, plain, size):
    model, (pose, shape, frame) = models[dtype], _inputs(2, dtype)
    pose = (pose.detach().sign() * size).requires_grad_()
    inputs = (pose, shape, frame)
    hand = (model.pose_hand_in_torch if plain else model.pose_hand)(*inputs)
    assert all(t.isfinite().all() for t in (*hand, *_gradients(hand, inputs)))
    assert hand[0].abs().max() < 10  # metres: a bend only turns


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("size", [10.0, -10.0, 1e3])
def test_extreme_shapes_give_finite_meshes_and_gradients(models, dtype, plain, size):
    model, (pose, shape, frame) = models[dtype], _inputs(2, dtype)
    shape = torch.full_like(shape, size, requires_grad=True)
    inputs = (pose, shape, frame)
    hand = (model.pose_hand_in_torch if plain else model.pose_hand)(*inputs)
    assert all(t.isfinite().all() for t in (*hand, *_gradients(hand, inputs)))


def test_only_what_needs_a_gradient_gets_one(model):
    pose, shape, frame = (t.detach() for t in _inputs(2))
    pose.requires_grad_()
    model.pose_hand(pose, shape, frame)[1].sum().backward()
    assert pose.grad is not None
    assert shape.grad is None


def test_gradients_of_gradients_are_those_of_plain_torch(model):
    def curvature(layer):
        inputs = _inputs(2)
        first = torch.autograd.grad(layer(*inputs)[0].square().sum(), inputs[:2], create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

    torch.testing.assert_close(curvature(model.pose_hand), curvature(model.pose_hand_in_torch))


def test_function_transforms_pass(model, no_kernels):
    inputs = tuple(t.detach() for t in _inputs(2))
    tangents = tuple(torch.randn_like(t) for t in inputs)

    def joints(pose, shape, frame):
        return model.pose_hand(pose, shape, frame)[1]

    slope = torch.func.jvp(joints, inputs, tangents)[1]
    jacobian = torch.func.jacrev(joints)(*inputs)
    assert jacobian.shape == (2, 21, 3, 2, 15, 3)
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(t, d) for t, d in zip(inputs, tangents, strict=True)]
        torch.testing.assert_close(forward_ad.unpack_dual(joints(*duals)).tangent, slope)


def test_the_layer_is_exported_without_its_kernels(model, no_kernels):
    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pose, shape, frame):
            return self.model.pose_hand(pose, shape, frame)

    inputs = tuple(t.detach() for t in _inputs(2))
    exported = torch.export.export(Layer(), inputs).module()
    torch.testing.assert_close(exported(*inputs), model.pose_hand_in_torch(*inputs))
    compiled = torch.compile(Layer(), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), model.pose_hand_in_torch(*inputs))


def test_types_the_kernels_do_not_know_go_through_plain_torch(models):
    single, double = _inputs(1, torch.float32), _inputs(1)
    assert compiled_hand.is_fit_for(*single)
    assert not compiled_hand.is_fit_for(*single, *double)
    assert not compiled_hand.is_fit_for(*(t.bfloat16() for t in single))
    assert not compiled_hand.is_fit_for(*(t.to("meta") for t in single))


def test_the_result_does_not_depend_on_the_threads(models):
    inputs, model = _inputs(40, torch.float32), models[torch.float32]
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            hand = model.pose_hand(*inputs)
            results.append((*hand, *_gradients(hand, inputs)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
