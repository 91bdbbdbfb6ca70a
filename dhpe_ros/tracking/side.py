"""Which hand it is: a belief that adds up over the images of a hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dhpe_ros.types import Side

FIRM = 5.0  # log-odds of a belief, at most
_CLEAR = 0.98  # no image is surer
_TURN = math.log(0.6 / 0.4)  # log-odds for the other side, from which the belief turns
_LOOK_S = 0.2  # images that are nearer in time say the same again, and count for less


@dataclass(frozen=True)
class SideBelief:
    """A side, and the log-odds that it is the true one.

    The side changes when all evidence together is for the other one. A new hand's may change with
    the next images. To turn a firm belief takes a third of a second of clear images, one and a half
    of images that leave it open.
    """

    side: Side
    log_odds: float = 0.0

    def after(self, right: float, passed_s: float) -> SideBelief:
        """The belief after an image that shows a right hand with probability ``right``.

        ``passed_s`` seconds lie between it and the image before.
        """
        agrees = min(max(right if self.side is Side.RIGHT else 1 - right, 1 - _CLEAR), _CLEAR)
        evidence = math.log(agrees / (1 - agrees)) * min(passed_s / _LOOK_S, 1.0)
        log_odds = min(self.log_odds + evidence, FIRM)
        if log_odds > -_TURN:
            return SideBelief(self.side, log_odds)
        return SideBelief(self.side.other, -log_odds)
