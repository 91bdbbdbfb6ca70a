"""Predict where the cache lacks it, then score: one method on one set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from dhpe_lab.evaluation.labelled import LabelledSet
from dhpe_lab.evaluation.predict import Prediction
from dhpe_lab.evaluation.prediction_cache import PredictionCache, file_digest
from dhpe_lab.evaluation.rivals import predictor
from dhpe_lab.evaluation.score import Score, details, score, steadiness, summary, timings
from dhpe_lab.training import distributed
from dhpe_ros.config import Config
from dhpe_ros.networks.weights import hand_model_path, localiser_path, weights_path
from dhpe_ros.pipeline import HandPipeline

RANGES_MM = ((20.0, 50.0), (0.0, 50.0))
_WHERE = ("model.device", "model.threads")  # change no prediction beyond rounding


@dataclass(frozen=True)
class Question:
    """Conditions of a measurement: the method, how hands are given, the settings."""

    method: str
    search: bool
    config: Config
    seed: int = 0

    def files(self) -> dict[str, Path]:
        """Name of the setting -> file; raises ``FileNotFoundError`` for one that is not there."""
        model = self.config.model
        files = {
            "weights": Path(model.weights or weights_path(model.profile)),
            "localiser": Path(model.localiser or localiser_path()),
            "hand_model": Path(model.hand_model or hand_model_path()),
        }
        for name, path in files.items():
            if not path.is_file():
                raise FileNotFoundError(f"no {name.replace('_', ' ')} at {path}")
        return files

    def settings(self) -> dict[str, object]:
        """The settings that a prediction depends on; files by name and digest."""
        known = self.config.as_mapping().items()
        settings = {k: v for k, v in known if "." in k and k not in _WHERE}  # not the node's own
        for name, file in self.files().items():
            settings[f"model.{name}"] = f"{file.name} sha256:{file_digest(file)[:12]}"
        return settings

    def content(self) -> dict[str, object]:
        """Key of the predictions in the cache, beside the set."""
        return {
            "method": self.method,
            "search": self.search,
            "seed": self.seed,
            "settings": self.settings(),
        }


@dataclass(frozen=True)
class Measured:
    """One method on one set: what the report is made from."""

    labelled: LabelledSet
    question: Question
    predictions: Sequence[Prediction]
    scores: Sequence[Score]
    figures: dict  # of ``summary``
    details: dict  # of ``details``, and of ``steadiness`` for a clip
    ms: dict[str, float]  # of ``timings``


def measure(
    labelled: LabelledSet,
    question: Question,
    pipeline: Callable[[], HandPipeline],
    folder: Path,
    fresh: bool = False,
    ranges_mm: Sequence[tuple[float, float]] = RANGES_MM,
) -> Measured | None:
    """Predict what ``folder`` lacks, in all processes, then score in the first; None in the others.

    ``pipeline`` is only called where there is something to predict. ``fresh`` predicts anew. Errors
    as in ``predictor`` and the readers of the set.
    """
    cache = PredictionCache(folder, labelled, question.content())
    if fresh and distributed.rank() == 0:
        cache.clear()
    distributed.wait()
    missing = cache.missing()
    distributed.wait()  # all have looked before the first writes
    own = missing[distributed.rank() :: distributed.count()]
    if own:
        way = predictor(question.method, pipeline(), question.search, question.seed)
        total = sum(len(cache.parts[number]) for number in own)
        about = f"{labelled.name}, {question.method}"
        hidden = distributed.rank() != 0
        with tqdm(desc=about, total=total, unit="hand", smoothing=0, disable=hidden) as bar:
            cache.make(way, own, bar.update)
    distributed.wait()
    if distributed.rank() != 0:
        return None
    predictions = list(cache.read())
    same_mesh = file_digest(question.files()["hand_model"]) == file_digest(hand_model_path())
    scores = [score(one, same_mesh) for one in predictions]
    found = details(scores, ranges_mm)
    if labelled.is_clip and predictions and any(one.hand for one in predictions):
        found["steadiness"] = steadiness(predictions)
    return Measured(
        labelled, question, predictions, scores, summary(scores), found, timings(predictions)
    )
