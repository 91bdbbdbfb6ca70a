"""Without an engine a GPU runs the networks as CUDA graphs, which see what eager torch sees."""

import pytest
import torch

from dhpe_ros.config import Config
from dhpe_ros.engines import build, graphs
from dhpe_ros.pipeline import HandPipeline

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
GPU = torch.device("cuda")


@pytest.fixture(params=["lite", "full"])
def pipeline(request, tmp_path):
    settings = {"model.profile": request.param, "model.device": "cuda"}
    return HandPipeline(Config().replace({**settings, "model.engines": str(tmp_path)}))


@torch.no_grad()
def test_they_are_near_eager_torch_and_give_each_call_its_own_results(pipeline):
    assert pipeline.networks.name == "CUDA graphs (fp16)"
    assert pipeline.networks.fault == ""
    views = build.Views(*(graphs.examples(name, GPU)[0] for name in ("evidence", "localiser")))
    first = pipeline.networks.infer(views.crops)
    kept = first.features.clone()
    other = pipeline.networks.infer(views.crops.flip(3))
    assert torch.equal(first.features, kept) and not torch.equal(other.features, kept)
    eager = pipeline.eager.infer(views.crops)
    for ours, theirs in zip(vars(first).values(), vars(eager).values(), strict=True):
        assert ours.dtype == torch.float32 and ours.shape == theirs.shape
    torch.testing.assert_close(first.features, eager.features, atol=0.05, rtol=0.05)
    answers = (way.locate(views.pictures) for way in (pipeline.networks, pipeline.eager))
    torch.testing.assert_close(*answers, atol=0.2, rtol=0.05)


def test_eager_stays_eager(tmp_path):
    settings = {"model.device": "cuda", "model.backend": "eager", "model.engines": str(tmp_path)}
    assert HandPipeline(Config().replace(settings)).networks.name == "eager"
