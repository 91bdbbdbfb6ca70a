"""Non-finite guard: skips steps without a finite gradient, and saves the first such batch."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from dhpe_lab.training import distributed
from dhpe_lab.training.batches import Batch

_LOG = logging.getLogger(__name__)


class NonFiniteGuard:
    """Watches the gradients: one that is not finite is no step, too many in a row are the end.

    The first such batch of a run is saved in its folder, each process's part of it.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._in_a_row = 0

    def passes(self, step: int, norm: Tensor, batch: Batch, terms: Mapping[str, Tensor]) -> bool:
        """True if the gradient with this ``norm`` is finite; the same in every process.

        Raises ``FloatingPointError`` when there are too many in a row that may not.
        """
        if norm.isfinite():
            self._in_a_row = 0
            return True
        self._in_a_row += 1
        values = {name: float(term.detach()) for name, term in terms.items()}
        _LOG.warning("step %d left out: gradient not finite, terms %s", step, values)
        path = self._save(step, batch, values)
        if self._in_a_row >= self._limit:
            raise FloatingPointError(
                f"no finite gradient for {self._in_a_row} steps up to {step}; the first such batch "
                f"is in {path}. Lower learning.rate, or try learning.precision=fp32"
            )
        return False

    def _save(self, step: int, batch: Batch, terms: dict[str, float]) -> Path:
        """``bad_batch_RANK.safetensors``: the tensors of the batch; step and terms as metadata."""
        path = self._folder / f"bad_batch_{distributed.rank()}.safetensors"
        if not path.exists():
            about = {"step": str(step), "terms": json.dumps(terms)}
            tensors = {n: t.detach().cpu().contiguous() for n, t in batch.tensors().items()}
            save_file(tensors, path, metadata=about)
        return path
