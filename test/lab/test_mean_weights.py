"""The mean of trained networks."""

import pytest
import torch

from dhpe_lab.training.mean_weights import main, mean_of
from dhpe_ros.networks.weights import build_networks, load_networks, save_networks


def files(folder, *seeds):
    for seed in seeds:
        torch.manual_seed(seed)
        save_networks(build_networks("lite"), folder / f"{seed}.safetensors", {"seed": seed})
    return [str(folder / f"{seed}.safetensors") for seed in seeds]


def test_every_weight_is_the_weighted_mean(tmp_path):
    one, two = files(tmp_path, 1, 2)
    output = tmp_path / "mean.safetensors"
    main([one, two, "--shares", "0.75", "0.25", "--output", str(output)])
    a, b, mean = (load_networks(path, "lite") for path in (one, two, output))
    assert mean.training["mean_of"][1] == {
        "weights": "2.safetensors", "share": 0.25, "training": {"seed": 2}
    }  # fmt: skip
    for parts in zip(a.modules(), b.modules(), mean.modules(), strict=True):
        first, second, third = (part.state_dict() for part in parts)
        for name, tensor in third.items():
            expected = 0.75 * first[name].float() + 0.25 * second[name].float()
            assert torch.allclose(tensor.float(), expected, atol=2e-3)


def test_shares_that_are_no_shares_are_refused(tmp_path):
    paths = files(tmp_path, 1, 2)
    output = tmp_path / "mean.safetensors"
    for shares in (["0.5", "0.6"], ["1.0"]):
        with pytest.raises(ValueError, match="shares with the sum 1"):
            main([*paths, "--shares", *shares, "--output", str(output)])
    with pytest.raises((ValueError, OSError), match=r"none\.safetensors"):
        main([*paths, str(tmp_path / "none.safetensors"), "--output", str(output)])
    assert not output.exists()


def test_networks_that_are_built_differently_have_no_mean():
    networks = [build_networks("lite"), build_networks("lite")]
    networks[1].mesh_estimator.refiner = None
    with pytest.raises(ValueError, match="built differently"):
        mean_of(networks, (0.5, 0.5))
