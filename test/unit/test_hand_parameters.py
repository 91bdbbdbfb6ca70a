"""The 63 numbers within their bounds, in torch and compiled."""

import torch

from dhpe_ros.hand.kernels.prior_kernels import bring_within
from dhpe_ros.hand.parameters import START_SCALE, Bounds, HandParameters

THETA_STD = torch.linspace(0.2, 1.5, 45)


def test_each_number_is_brought_within_its_own_bounds():
    far = HandParameters.start(3)
    far[0, 0], far[1, 0] = -4.0, 1e6  # a scale has no upper bound
    far[:, 1:4] = torch.tensor((-70.0, 80.0, 1e4))  # nor has a place
    far[0, 4:8] = torch.tensor((0.0, 3.0, 0.0, 4.0))
    far[1, 4:8] = 0.0
    far[:, 8:53] = torch.where(torch.arange(45) % 2 == 0, 1e3, -0.1)
    far[:, 53:] = -6.0
    p = HandParameters.split(Bounds.of(THETA_STD).bring(far))
    assert p.scale[:, 0].tolist() == [0.5, 1e6, START_SCALE]
    assert torch.equal(p.translation, far[:, 1:4])
    expected = torch.tensor(((0.0, 0.6, 0.0, 0.8), (1.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)))
    torch.testing.assert_close(p.rotation, expected)
    torch.testing.assert_close(p.pose[:, ::2], 5 * THETA_STD[::2].expand(3, -1))
    assert (p.pose[:, 1::2] == -0.1).all()
    assert (p.shape == -5).all()


def test_the_kernel_does_what_torch_does():
    generator = torch.Generator().manual_seed(0)
    rows = 5 * torch.randn(20, 63, dtype=torch.float64, generator=generator)
    rows[3, 4:8] = 0.0
    rows[4, 10] = torch.nan
    lowest, highest, _ = bounds = Bounds.of(THETA_STD.double())
    expected = bounds.bring(rows)
    bring_within(rows.numpy(), lowest.numpy(), highest.numpy())
    torch.testing.assert_close(rows, expected, equal_nan=True)
