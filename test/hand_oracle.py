"""Slow twins of the hand's kernels, written from the formulas and with nothing of theirs."""

import torch

from dhpe_ros.hand.parameters import HandParameters

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
STEP = 1e-6  # of a finite difference; in double precision good to about as many digits


def pose_hand(model, pose, shape, frame):
    """Mesh ``(B, 778, 3)`` and skeleton ``(B, 21, 3)``: MANO, bone by bone."""
    x, y, z = pose.unbind(2)
    none = torch.zeros_like(x)
    rows = torch.stack((none, -z, y, z, none, -x, -y, x, none), 2)
    turns = torch.matrix_exp(rows.unflatten(2, (3, 3)))
    rest = model.joint_template + torch.einsum("jcs,bs->bjc", model.jointdirs, shape)
    bend = (turns - torch.eye(3, dtype=pose.dtype)).flatten(1)
    blend = model.blend_shapes.reshape(3, -1, 145)
    vertices = model.v_template + torch.einsum("cvk,bk->bvc", blend, torch.cat((shape, bend), 1))
    maps = [(frame[:, :, :3], frame[:, :, 3:])]
    for bone in range(1, 16):
        rotation, shift = maps[PARENTS[bone]]
        pivot = rest[:, bone, :, None]
        turned = rotation @ turns[:, bone - 1]
        maps.append((turned, shift + rotation @ pivot - turned @ pivot))
    posed = torch.zeros_like(vertices)
    for bone, (rotation, shift) in enumerate(maps):
        posed = posed + model.weights[:, bone, None] * (vertices @ rotation.mT + shift.mT)
    return posed, model.skeleton_regressor @ posed


def differences(function, parameters):
    """``function`` at ``(B, 63)``, and its slopes by the 63 numbers in a last dimension."""
    parameters = parameters.double()
    here = function(parameters)
    steps = STEP * torch.eye(63, dtype=torch.float64)
    return here, torch.stack([(function(parameters + step) - here) / STEP for step in steps], -1)


def normal_equations(jacobian, residuals, weights):
    """Curvature and gradient of half the weighted sum of squares."""
    weighted = jacobian * weights[..., None]
    return weighted.mT @ jacobian, (weighted.mT @ residuals[..., None])[..., 0]


def hand_prior(parameters, projection, config):
    """``HandPrior.value`` by torch's operations alone."""
    p = HandParameters.split(parameters)
    smooth = projection.smoothness(projection(parameters))
    value = config.laplacian_weight * smooth + config.pose_weight * projection.pose_space(p.pose)
    return value + config.shape_weight * (p.shape**2).mean(1)


def hand_prior_linearised(parameters, projection, config):
    """Value of ``HandPrior``, its gradient, and Gauss-Newton's curvature of the squares."""
    moving = parameters.detach().requires_grad_(True)
    values = hand_prior(moving, projection, config)
    (gradients,) = torch.autograd.grad(values.sum(), moving)
    curvatures = parameters.new_zeros(len(parameters), 63, 63)
    curvatures[:, 53:, 53:] = config.shape_weight / 5 * torch.eye(10)
    poses = [pose_curvature(theta, projection.pose_space) for theta in parameters[:, 8:53]]
    curvatures[:, 8:53, 8:53] = config.pose_weight * torch.stack(poses)
    return values.detach().double(), gradients.double(), curvatures.double()


def pose_curvature(theta, space):
    """``(45, 45)``: of ``PoseSpace.gaussian`` and ``penetration``, about ``theta`` ``(45,)``."""

    def overlaps(numbers):
        return 100 * space.overlaps(space.pose_from_theta(numbers[None]))[0]

    options = {"vectorize": True, "strategy": "forward-mode"}
    slopes = torch.autograd.functional.jacobian(overlaps, theta.detach(), **options).flatten(0, 1)
    return slopes.T @ slopes + torch.diag(2 / 45 / space.theta_std**2)
