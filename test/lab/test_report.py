"""Predictions are made once, in parts, by one or several processes; reports say what they say."""

import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from dhpe_lab.evaluation import baselines, prediction_cache, rivals, synthetic_set
from dhpe_lab.evaluation.labelled import open_labelled
from dhpe_lab.evaluation.measure import Question, measure
from dhpe_lab.evaluation.predict import predict
from dhpe_lab.evaluation.prediction_cache import PredictionCache
from dhpe_lab.evaluation.report import pages
from dhpe_lab.evaluation.report.cited import cited_tables
from dhpe_ros.cli.main import main
from dhpe_ros.config import Config
from dhpe_ros.media.clips import ClipWriter
from dhpe_ros.pipeline import HandPipeline


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A few synthetic hands only, in a cache of their own, in parts of two."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setattr(synthetic_set, "_SHARD", 4)
        patch.setattr(prediction_cache, "PART", 2)
        yield folder


@pytest.fixture(scope="module")
def config():
    return Config().replace({"refinement.steps": 1})


@pytest.fixture(scope="module")
def pipeline(config):
    return HandPipeline(config)


def test_what_is_kept_is_what_was_predicted(pipeline, config, tmp_path):
    labelled = synthetic_set.open_synthetic(3)
    cache = PredictionCache(tmp_path, labelled, Question("dhpe", False, config).content())
    assert cache.missing() == [0, 1]
    ticks = []
    cache.make(lambda part: predict(pipeline, part), [0, 1], ticks.append)
    assert cache.missing() == []
    assert sum(ticks) == 3
    fresh = [p for part in (labelled.hands[:2], labelled.hands[2:])
             for p in predict(pipeline, type(labelled)("", part))]  # fmt: skip
    for kept, made in zip(cache.read(), fresh, strict=True):
        assert kept.label is made.label
        assert (kept.picture_size, kept.found, kept.side) == (
            made.picture_size, made.found, made.side
        )  # fmt: skip
        assert kept.ms.keys() == made.ms.keys()
        for name, value in vars(made.hand).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_allclose(getattr(kept.hand, name), value, atol=1e-6)
            elif name == "box":
                np.testing.assert_allclose(kept.hand.box.as_array(), value.as_array(), atol=1e-4)
            elif name != "refinement":
                assert getattr(kept.hand, name) == pytest.approx(value, nan_ok=True), name
        assert kept.hand.refinement.steps == made.hand.refinement.steps


def test_an_interrupted_evaluation_goes_on_and_a_whole_one_only_scores(pipeline, config, tmp_path):
    labelled, question = synthetic_set.open_synthetic(4), Question("dhpe", False, config)
    asked = []

    def lent():
        asked.append(True)
        return pipeline

    first = measure(labelled, question, lent, tmp_path)
    files = sorted(tmp_path.rglob("*.pickle"))
    assert len(files) == 2
    files[1].unlink()
    stamp = files[0].stat().st_mtime_ns
    again = measure(labelled, question, lent, tmp_path)
    assert files[0].stat().st_mtime_ns == stamp, "what is there is not predicted again"
    assert len(asked) == 2
    assert again.figures == first.figures == measure(labelled, question, lent, tmp_path).figures
    assert len(asked) == 2, "no network is loaded only to score"
    measure(labelled, question, lent, tmp_path, fresh=True)
    assert len(asked) == 3


def test_another_question_has_another_place(config, tmp_path):
    labelled = synthetic_set.open_synthetic(2)
    base = Question("dhpe", False, config)
    others = [
        Question("networks", False, config),
        Question("dhpe", True, config),
        Question("dhpe", False, config.replace({"refinement.steps": 2})),
    ]
    folders = {PredictionCache(tmp_path, labelled, q.content()).folder for q in (base, *others)}
    folders.add(PredictionCache(tmp_path, labelled.part(1, 0), base.content()).folder)
    assert len(folders) == 5
    elsewhere = Question("dhpe", False, config.replace({"model.threads": 1, "max_age": 2.0}))
    same = PredictionCache(tmp_path, labelled, elsewhere.content()).folder
    assert same == PredictionCache(tmp_path, labelled, base.content()).folder


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path, cache):
    """Their figures are those of one; the prediction files are from both."""
    program = tmp_path / "two.py"
    program.write_text(
        "import sys\n"
        "from dhpe_lab.evaluation import baselines, prediction_cache, synthetic_set\n"
        "prediction_cache.PART, synthetic_set._SHARD = 2, 4\n"
        "from dhpe_ros.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    # Rounding of integer networks may depend on the number of threads, which torchrun sets.
    eager = ["--settings", "model.backend=eager"]
    options = ["evaluate", "--set", "synthetic", "--limit", "4", "--refine", "1", "--device", "cpu"]
    options += eager
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", str(program), *options, "--fresh"]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "two.json")],
        capture_output=True, text=True, timeout=540, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("found_pct") == 1, "one process reports"
    assert main([*options, "--fresh", "--json", str(tmp_path / "one.json")]) == 0
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one["settings"] == two["settings"]
    for name in ("err2d_pct", "auc_20_50", "mask_iou"):
        assert one[name] == pytest.approx(two[name], rel=1e-3)


def test_a_report_is_one_page_with_all_that_was_asked(tmp_path):
    options = ("--set", "synthetic", "--limit", 4, "--refine", 1, "--method", "dhpe", "networks",
               "--range", 10, 40, "--report", tmp_path / "report")  # fmt: skip
    assert main(["evaluate", *(str(option) for option in options)]) == 0
    folder = tmp_path / "report"
    page = (folder / "report.html").read_text()
    text = (folder / "report.md").read_text()
    for word in ("3D by alignment", "AUC 10-40", "Procrustes", "precision", "little", "worst",
                 "refinement.steps: 1", "lite.safetensors sha256:", "Timings"):  # fmt: skip
        assert word in page, word
        assert word in text, word
    assert not re.search(r'(src|href)="(?!data:)', page), "the page needs no other file"
    linked = re.findall(r"\]\(([^)]+)\)", text)
    assert {"pck.svg", "best_0.jpg", "worst_0.jpg", "masks_0.jpg", "joints_0.svg"} <= set(linked)
    for name in linked:
        assert (folder / name).is_file(), name
    sheet = cv2.imread(str(folder / "worst_0.jpg"))
    assert sheet.shape[1] > 900
    rows = json.loads((folder / "figures.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["dhpe", "networks"]
    assert f"{rows[0]['auc_20_50']:.3f}" in page
    assert rows[0]["ms"].keys() == {"evidence", "mesh", "refinement", "lift"}


def test_pictures_without_labels_are_searched_and_shown(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    shown = synthetic_set.open_synthetic(1).hands[0].image()
    framed = cv2.copyMakeBorder(shown, 40, 40, 40, 40, cv2.BORDER_REPLICATE)
    cv2.imwrite(str(folder / "a.png"), cv2.cvtColor(framed, cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(folder / "b.png"), np.full((120, 160, 3), 90, np.uint8))
    options = ("--set", folder, "--refine", 1, "--report", tmp_path / "r")
    assert main(["evaluate", *(str(option) for option in options)]) == 0
    (row,) = json.loads((tmp_path / "r/figures.json").read_text())["rows"]
    assert row["search"] is True
    assert row["n"] == 2
    assert row["err2d_pct"] is None
    assert row["side_pct"] is None
    assert row["auc_20_50"] is None


def test_an_unlabelled_video_is_a_set(tmp_path):
    video = tmp_path / "clip.mp4"
    with ClipWriter(video, 10.0) as clip:
        for level in (40, 120, 200):
            clip.write(np.full((64, 64, 3), level, np.uint8))
    labelled = open_labelled(video)
    assert labelled.is_clip
    assert not labelled.gives_boxes
    assert [hand.frame for hand, _ in labelled.pictures()] == [0, 1, 2]


def test_mediapipe_says_what_it_needs(pipeline, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ValueError, match=r"pip install mediapipe==0\.10\.21"):
        rivals.predictor("mediapipe", pipeline, False, 0)


def test_fits_need_hands_that_are_given(capsys):
    options = ("--set", "synthetic", "--limit", 1, "--method", "swarm", "--search")
    assert main(["evaluate", *(str(option) for option in options)]) == 2
    assert "swarm fits hands that are given: leave --search out" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["networks", "swarm", "keypoints"])
def test_every_rival_finds_the_hand(method, pipeline, monkeypatch):
    monkeypatch.setattr(baselines, "PARTICLES", 16)
    monkeypatch.setattr(baselines, "GENERATIONS", 4)
    labelled = synthetic_set.open_synthetic(2)
    predictions = list(rivals.predictor(method, pipeline, False, 0)(labelled))
    assert [prediction.label for prediction in predictions] == list(labelled.hands)
    assert all(np.isfinite(prediction.hand.vertices_px).all() for prediction in predictions)


def test_several_sets_have_no_single_json(tmp_path, capsys):
    options = ("--set", "synthetic", "demo", "--json", tmp_path / "a.json")
    assert main(["evaluate", *(str(option) for option in options)]) == 2
    assert "--report DIR writes those of all" in capsys.readouterr().err


def test_cited_figures_are_marked_as_such():
    tables = [table for name in ("rhd", "stb", "dexter+object") for table in cited_tables(name)]
    assert len(tables) == 4
    assert all("[cited]" in name for _, rows, _ in tables for name, _ in rows)
    assert cited_tables("synthetic") == []


def test_pages_escape_what_they_show():
    text = pages.table(
        "<x>", [("a & b", {"y": 1.26, "z": None})], {"y": ("Y", ".1f"), "z": ("", "")}
    )
    assert text.endswith("| a &amp; b | 1.3 |")
    shown = pages.html(f"# t\n\n{text}\n\n![one](a.svg)\n", {"a.svg": b"<svg/>"})
    assert "<th>&lt;x&gt;</th>" in shown
    assert ">1.3</td>" in shown
    assert 'src="data:image/svg+xml;base64,' in shown
