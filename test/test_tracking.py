"""Boxes and identities from frame to frame, with a pipeline that sees what it is told."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from dhpe_ros.config import Config
from dhpe_ros.tracking import HandTracker
from dhpe_ros.types import Box, Side, Target

IMAGE = np.zeros((480, 640, 3), np.uint8)


@dataclass
class SeesEverything:
    """Finds a hand in every box; without boxes, in the one that is put into ``found``."""

    found: list
    scores: dict = field(default_factory=dict)  # by left edge of the box
    lost: bool = False
    searches: int = 0
    asked: list = field(default_factory=list)  # the targets of the last image
    config = Config()

    def find(self, image, boxes=None):
        self.searches += 1
        return list(self.found if boxes is None else boxes)

    def estimate(self, image, camera, targets):
        self.asked = list(targets)
        scores = [self.scores.get(round(target.box.x), 0.9) for target in targets]
        return [] if self.lost else [_hand(*pair) for pair in zip(targets, scores, strict=True)]


def _hand(target, score):
    x, y = target.box.center
    side = target.box.width / 1.8
    corners = np.array(((-0.5, -0.5), (0.5, 0.5)), np.float32) * side + (x - 0.5, y - 0.5)
    return SimpleNamespace(
        score=score,
        joints_px=corners,
        side=target.side or Side.RIGHT,
        track_id=target.track_id,
        box=target.box,
    )


def test_the_next_box_follows_the_last_hand_without_a_search():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    (first,) = tracker.process(IMAGE)
    (second,) = tracker.process(IMAGE)
    assert first.track_id == second.track_id
    assert pipeline.searches == 1
    assert second.box.center == first.box.center
    assert second.box.width == np.float32(first.box.width)


def test_a_lost_hand_is_searched_for_and_gets_a_new_identity():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    (first,) = tracker.process(IMAGE)
    pipeline.lost = True
    assert tracker.process(IMAGE) == []
    pipeline.lost = False
    (again,) = tracker.process(IMAGE)
    assert pipeline.searches == 2
    assert again.track_id > first.track_id


def test_boxes_from_outside_override_and_keep_the_identity_they_overlap():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    (first,) = tracker.process(IMAGE)
    near, far = Target(Box(110, 100, 90, 90)), Target(Box(400, 100, 90, 90))
    moved, other = tracker.process(IMAGE, boxes=[near, far])
    assert moved.track_id == first.track_id
    assert other.track_id != first.track_id
    assert moved.box == near.box
    assert tracker.process(IMAGE, boxes=[]) == []


def test_two_boxes_never_share_an_identity():
    tracker = HandTracker(SeesEverything([Target(Box(100, 100, 90, 90))]))
    (first,) = tracker.process(IMAGE)
    both = tracker.process(
        IMAGE, boxes=[Target(Box(95, 100, 90, 90)), Target(Box(105, 100, 90, 90))]
    )
    assert first.track_id in {hand.track_id for hand in both}
    assert len({hand.track_id for hand in both}) == 2


def test_a_side_that_was_told_stays_told_only_for_its_image():
    tracker = HandTracker(SeesEverything([]))
    tracker.process(IMAGE, boxes=[Target(Box(100, 100, 90, 90), Side.LEFT)])
    (target,) = tracker._targets
    assert target.side is Side.LEFT or target.side is Side.RIGHT
    assert not target.side_is_told


def test_a_reset_forgets_but_never_uses_an_identity_twice():
    tracker = HandTracker(SeesEverything([Target(Box(100, 100, 90, 90))]))
    (first,) = tracker.process(IMAGE)
    tracker.reset()
    (second,) = tracker.process(IMAGE)
    assert second.track_id > first.track_id


def test_a_weak_hand_gives_way_to_a_surer_one_elsewhere_and_only_then():
    weak, sure = Target(Box(100, 100, 90, 90)), Target(Box(400, 100, 90, 90))
    for other_score, expected in ((0.9, 400), (0.55, 100)):
        pipeline = SeesEverything([weak], scores={100: 0.55, 400: other_score})
        tracker = HandTracker(pipeline)
        (first,) = tracker.process(IMAGE)
        pipeline.found = [sure]
        for _ in range(8):
            (hand,) = tracker.process(IMAGE)
        assert round(hand.box.x) == expected
        assert (hand.track_id == first.track_id) == (expected == 100)


def test_a_sure_hand_is_followed_without_another_search():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    for _ in range(20):
        tracker.process(IMAGE)
    assert pipeline.searches == 1


def test_an_unsure_hand_is_followed_only_after_some_patience():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))], scores={100: 0.4})
    tracker = HandTracker(pipeline)
    published = [len(tracker.process(IMAGE)) for _ in range(14)]
    assert published == [0] * 10 + [1] * 4
    (told,) = HandTracker(pipeline).process(IMAGE, boxes=pipeline.found)
    assert told.score == 0.4


def test_a_hand_is_followed_with_its_own_past_and_none_after_a_reset():
    pipeline = SeesEverything([])
    tracker = HandTracker(pipeline)
    boxes = [Target(Box(100, 100, 90, 90)), Target(Box(400, 100, 90, 90))]
    hands = tracker.process(IMAGE, boxes=boxes)
    assert [target.previous for target in pipeline.asked] == [None, None]
    tracker.process(IMAGE)
    assert all(t.previous is hand for t, hand in zip(pipeline.asked, hands, strict=True))
    tracker.reset()
    tracker.process(IMAGE, boxes=boxes)
    assert [target.previous for target in pipeline.asked] == [None, None]


def test_boxes_from_outside_keep_the_past_of_the_hand_they_overlap():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    (first,) = tracker.process(IMAGE)
    tracker.process(IMAGE, boxes=[Target(Box(110, 100, 90, 90)), Target(Box(400, 100, 90, 90))])
    near, far = pipeline.asked
    assert near.previous is first
    assert far.previous is None


def test_a_lost_hand_leaves_no_past():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    tracker.process(IMAGE)
    pipeline.lost = True
    tracker.process(IMAGE)
    pipeline.lost = False
    tracker.process(IMAGE)
    assert pipeline.asked[0].previous is None
