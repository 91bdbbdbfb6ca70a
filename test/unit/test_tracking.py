"""Boxes and identities from frame to frame, with a pipeline that sees what it is told."""

import math
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
from fake_tracker import make_hand
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dhpe_ros.config import Config
from dhpe_ros.geometry.association import same_box
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.tracking.tracker import BACK_S, FRAME_S, GAP_S, HandTracker
from dhpe_ros.types import Box, Side, SideSource, Target

IMAGE = np.zeros((480, 640, 3), np.uint8)

CONFIG = Config().replace({"tracking.min_score": 0.35})  # scores below are chosen for it


@dataclass
class SeesEverything:
    """Finds a hand in every box; without boxes, in the one that is put into ``found``."""

    found: list
    scores: dict = field(default_factory=dict)  # by left edge of the box
    lost: bool = False
    searches: int = 0
    asked: list = field(default_factory=list)  # the targets of the last image
    others: list = field(default_factory=list)  # what a search beside followed hands finds
    config, length_ratio = CONFIG, 1.0

    @property
    def search(self):
        return SimpleNamespace(elsewhere=lambda *_: list(self.others))

    def find(self, image, boxes=None, closer=True):
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
    hand = make_hand(
        target.box, Side.RIGHT if target.side is None else target.side, target.track_id
    )
    return replace(hand, score=score, joints_px=corners)


def _is(previous, hand):
    """True for the same hand, published with any size."""
    return previous.joints_px is hand.joints_px


def test_the_next_box_follows_the_last_hand_without_a_search():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    (first,) = tracker.process(IMAGE)
    (second,) = tracker.process(IMAGE)
    assert first.track_id == second.track_id
    assert pipeline.searches == 1
    assert second.box.center == first.box.center
    assert second.box.width == np.float32(first.box.width)


def test_boxes_from_outside_keep_the_identity_they_overlap():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    (first,) = tracker.process(IMAGE)
    near, far = Target(Box(110, 100, 90, 90)), Target(Box(400, 100, 90, 90))
    moved, other = tracker.process(IMAGE, boxes=[near, far])
    assert moved.track_id == first.track_id
    assert other.track_id != first.track_id
    assert moved.box == near.box


@pytest.mark.parametrize("boxes", [[], [Target(Box(400, 100, 90, 90))]])
def test_boxes_that_miss_a_followed_hand_leave_it_if_it_scores_by_itself(boxes):
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    (first,) = tracker.process(IMAGE)
    hands = tracker.process(IMAGE, boxes=boxes)
    assert hands[0].track_id == first.track_id
    assert len(hands) == 1 + len(boxes)
    pipeline.scores[100] = 0.3  # enough to be followed, too little to be found
    assert first.track_id in {hand.track_id for hand in tracker.process(IMAGE)}
    assert first.track_id not in {hand.track_id for hand in tracker.process(IMAGE, boxes=boxes)}


def test_no_box_from_outside_is_no_hand_and_no_search():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    assert HandTracker(pipeline).process(IMAGE, boxes=[]) == []


def camera(fx=500.0, cx=320.0, width=640):
    return Camera(fx, fx, cx, 240.0, width, 480)


@pytest.mark.parametrize(
    ("before", "after", "anew"),
    [
        (camera(), camera(fx=505.0, cx=323.0), False),  # the lens focuses, or is calibrated anew
        (camera(), camera(fx=1000.0), True),
        (camera(), camera(cx=160.0), True),
        (None, camera(fx=550.0), False),  # 60 degrees, as are assumed, have 554
        (None, camera(fx=300.0), True),
        (camera(), camera(cx=160.0, width=320), True),
        (None, None, True),
    ],
)
def test_tracks_do_not_outlive_the_view_that_their_pixels_are_of(before, after, anew):
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    (first,) = tracker.process(IMAGE, before)
    small = after is None or after.width == 320
    (second,) = tracker.process(IMAGE[:, :320] if small else IMAGE, after)
    assert (second.track_id != first.track_id) == anew
    assert pipeline.searches == 1 + anew


def test_two_boxes_never_share_an_identity():
    tracker = HandTracker(SeesEverything([Target(Box(100, 100, 90, 90))]))
    (first,) = tracker.process(IMAGE)
    both = tracker.process(
        IMAGE, boxes=[Target(Box(70, 100, 90, 90)), Target(Box(130, 100, 90, 90))]
    )
    assert first.track_id in {hand.track_id for hand in both}
    assert len({hand.track_id for hand in both}) == 2


def test_a_side_that_was_told_stays_told_only_for_its_image():
    pipeline = SeesEverything([])
    tracker = HandTracker(pipeline)
    tracker.process(IMAGE, boxes=[Target(Box(100, 100, 90, 90), Side.LEFT)])
    tracker.process(IMAGE)
    (target,) = pipeline.asked
    assert target.side is Side.LEFT
    assert target.side_source is SideSource.FOLLOWED


def test_a_reset_forgets_but_never_uses_an_identity_twice():
    tracker = HandTracker(SeesEverything([Target(Box(100, 100, 90, 90))]))
    (first,) = tracker.process(IMAGE)
    tracker.reset()
    (second,) = tracker.process(IMAGE)
    assert second.track_id > first.track_id


def test_a_reset_forgets_how_long_hands_were_weak_and_unsure():
    unsure = Target(Box(100, 100, 90, 90))
    pipeline = SeesEverything([unsure], scores={100: 0.4})
    tracker = HandTracker(pipeline)
    for _ in range(10):
        tracker.process(IMAGE)
    tracker.reset()
    assert tracker.process(IMAGE) == []
    for _ in range(3):
        tracker.process(IMAGE, boxes=[unsure])
    searches = pipeline.searches
    tracker.reset()
    for _ in range(4):
        tracker.process(IMAGE, boxes=[unsure])
    tracker.process(IMAGE)
    assert pipeline.searches == searches + 4, "nobody looked for a rival yet"


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
    assert all(_is(t.previous, hand) for t, hand in zip(pipeline.asked, hands, strict=True))
    tracker.reset()
    tracker.process(IMAGE, boxes=boxes)
    assert [target.previous for target in pipeline.asked] == [None, None]


def test_boxes_from_outside_keep_the_past_of_the_hand_they_overlap():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    (first,) = tracker.process(IMAGE)
    tracker.process(IMAGE, boxes=[Target(Box(110, 100, 90, 90)), Target(Box(400, 100, 90, 90))])
    near, far = pipeline.asked
    assert _is(near.previous, first)
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


def test_a_hand_that_comes_back_in_time_is_the_same_and_later_it_is_another():
    for away_s, same in ((1.0, True), (2.0, False)):
        pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
        tracker = HandTracker(pipeline)
        (first,) = tracker.process(IMAGE, time_s=10.0)
        pipeline.lost = True
        assert tracker.process(IMAGE, time_s=10.1) == []
        pipeline.lost = False
        (again,) = tracker.process(IMAGE, time_s=10.0 + away_s)
        assert (again.track_id == first.track_id) == same


def test_two_crops_that_see_one_hand_are_one_hand():
    tracker = HandTracker(SeesEverything([]))
    near = [Target(Box(100, 100, 90, 90)), Target(Box(105, 100, 90, 90))]
    assert len(tracker.process(IMAGE, boxes=near)) == 1
    shrunken = Target(Box(123, 118, 54, 54))  # half of the hand was seen
    for boxes in ([near[0], shrunken], [shrunken, near[0]]):
        assert len(tracker.process(IMAGE, boxes=boxes)) == 1


def test_a_hand_that_turns_up_far_from_the_lost_one_is_another():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    (first,) = tracker.process(IMAGE)
    pipeline.lost, pipeline.found = True, [Target(Box(400, 100, 90, 90))]
    tracker.process(IMAGE)
    pipeline.lost = False
    (other,) = tracker.process(IMAGE)
    assert other.track_id != first.track_id


def test_further_hands_are_looked_for_a_few_times_a_second_and_must_be_sure():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))], scores={300: 0.4})
    tracker = HandTracker(pipeline)
    tracker.process(IMAGE, time_s=0.0)
    pipeline.others = [Target(Box(300, 100, 90, 90)), Target(Box(500, 300, 90, 90))]
    counts = [len(tracker.process(IMAGE, time_s=t)) for t in (0.1, 0.2, 0.35)]
    assert counts == [1, 1, 2]


def test_no_more_hands_are_followed_than_are_asked_for_the_first_ones_stay():
    places = [Target(Box(x, 100, 90, 90)) for x in (100, 300, 500)]
    pipeline = SeesEverything(places)
    tracker = HandTracker(pipeline)
    assert len(tracker.process(IMAGE)) == 3
    pipeline.config = CONFIG.replace({"tracking.max_hands": 2})
    assert [hand.track_id for hand in tracker.process(IMAGE)] == [1, 2]
    first, second = tracker.process(IMAGE, boxes=places[::-1])
    assert {round(hand.box.x) for hand in (first, second)} == {100, 300}


def test_when_time_goes_back_everything_begins_anew_but_a_late_image_is_just_late():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    numbers = [tracker.process(IMAGE, time_s=t)[0].track_id for t in (9.0, 9.1, 9.05, 1.0)]
    assert numbers[0] == numbers[1] == numbers[2] != numbers[3]


@pytest.mark.parametrize("late_s", [(9.0 - BACK_S,), (8.6, 8.2), (9.0, 9.0)])
def test_a_hand_far_away_in_late_images_is_another(late_s):
    pipeline = SeesEverything([Target(Box(0, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    (first,) = tracker.process(IMAGE, time_s=9.0)
    pipeline.lost = True
    tracker.process(IMAGE, time_s=late_s[0])
    pipeline.lost, pipeline.found = False, [Target(Box(500, 100, 90, 90))]
    (other,) = tracker.process(IMAGE, time_s=late_s[-1])
    assert other.track_id != first.track_id


def test_late_images_add_up():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    tracker = HandTracker(pipeline)
    numbers = [tracker.process(IMAGE, time_s=t)[0].track_id for t in (9.0, 8.6, 8.4)]
    assert numbers == [1, 1, 2]


def test_after_a_long_gap_a_hand_is_another_without_a_past_and_after_a_short_one_the_same():
    for gap_s, same in ((600.0, False), (3.0, True)):
        pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
        tracker = HandTracker(pipeline)
        (first,) = tracker.process(IMAGE, time_s=10.0)
        (again,) = tracker.process(IMAGE, time_s=10.0 + gap_s)
        assert (again.track_id == first.track_id) == same
        assert (pipeline.asked[0].previous is not None) == same


def test_a_long_memory_outlasts_a_gap_but_without_the_past():
    pipeline = SeesEverything([Target(Box(100, 100, 90, 90))])
    pipeline.config = CONFIG.replace({"tracking.memory": 60.0})
    tracker = HandTracker(pipeline)
    (first,) = tracker.process(IMAGE, time_s=10.0)
    (again,) = tracker.process(IMAGE, time_s=30.0)
    assert again.track_id == first.track_id
    assert pipeline.asked[0].previous is None


@dataclass
class HidesWhatIsBehind:
    """Two hands that move on straight lines, the second before the first.

    A crop sees the hand that is nearest to its middle, but never one that another hides.
    """

    paths: tuple  # of a hand each: side, place and velocity in pixels
    config, length_ratio = CONFIG, 1.0
    time_s: float = 0.0
    size: float = 100.0

    def places(self):
        return [np.array(start) + np.array(speed) * self.time_s for _, start, speed in self.paths]

    def visible(self):
        back, front = self.places()
        hidden = np.linalg.norm(back - front) < 0.6 * self.size
        return [1] if hidden else [0, 1]

    def find(self, image, boxes=None, closer=True):
        return [self._target(k) for k in self.visible()]

    @property
    def search(self):
        return SimpleNamespace(elsewhere=self._elsewhere)

    def _elsewhere(self, image, known, config, likely):
        found = [self._target(k) for k in self.visible()]
        return [t for t in found if not any(same_box(t.box, box) for box in known)]

    def estimate(self, image, camera, targets):
        hands = []
        for target in targets:
            places = self.places()
            near = min(self.visible(), key=lambda k: self._distance(target, places[k]))
            if self._distance(target, places[near]) < self.size:
                hands.append(self._hand(target, near))
        return hands

    def _distance(self, target, place):
        return np.linalg.norm(np.subtract(target.box.center, place))

    def _target(self, k):
        x, y = self.places()[k]
        side = 1.8 * self.size
        return Target(Box(x - side / 2, y - side / 2, side, side), self.paths[k][0])

    def _hand(self, target, k):
        box = self._target(k).box
        return _hand(Target(box, self.paths[k][0], target.track_id), 0.9)

    def truth(self, hand):
        """Number of the hand, of the two."""
        places = self.places()
        return min(self.visible(), key=lambda k: np.linalg.norm(places[k] - hand.box.center))


def identity_switches(pipeline, seconds=4.0):
    """Count the times that one of two hands comes back with another identity."""
    tracker, known, switches, seen = HandTracker(pipeline), {}, 0, 0
    for pipeline.time_s in np.arange(0, seconds, 1 / 15):
        for hand in tracker.process(IMAGE, time_s=pipeline.time_s):
            truth = pipeline.truth(hand)
            switches += known.setdefault(truth, hand.track_id) != hand.track_id
            known[truth] = hand.track_id
            seen += 1
    return switches, seen


@pytest.mark.parametrize("sides", [(Side.LEFT, Side.RIGHT), (Side.RIGHT, Side.RIGHT)])
@pytest.mark.parametrize("speed", [100.0, 200.0, 400.0])
def test_identities_survive_a_crossing(sides, speed):
    """One passes before the other, which is hidden for up to 1.2 s and seen again behind it."""
    half = 2.0 * speed
    paths = (
        (sides[0], (320 - half / 2, 250), (speed / 2, 0)),
        (sides[1], (320 + half / 2, 240), (-speed / 2, 0)),
    )
    switches, seen = identity_switches(HidesWhatIsBehind(paths))
    assert switches == 0
    assert seen > 80


def test_identities_survive_a_hand_that_comes_and_goes_before_another():
    still = (Side.LEFT, (320, 240), (0, 0))
    passing = (Side.RIGHT, (0, 240), (160, 0))
    switches, seen = identity_switches(HidesWhatIsBehind((still, passing)))
    assert switches == 0
    assert seen > 80


@dataclass
class Shows(SeesEverything):
    """Each followed crop shows what is put into ``shown``, in the order of the crops."""

    shown: list = field(default_factory=list)  # of a crop each: middle and side, or None

    def estimate(self, image, camera, targets):
        boxes = [
            shown and Target(Box(shown[0] - 90, 160, 180, 180), shown[1]) for shown in self.shown
        ]
        pairs = zip(boxes, targets, strict=True)
        return [_hand(replace(box, track_id=t.track_id), 0.9) for box, t in pairs if box]


def met(frames):
    """A right hand goes to the right and a left one to the left; then crops show ``frames``."""
    pipeline = Shows([Target(Box(50, 160, 180, 180)), Target(Box(450, 160, 180, 180))])
    tracker = HandTracker(pipeline)
    approach = [[(140 + 20 * k, Side.RIGHT), (540 - 20 * k, Side.LEFT)] for k in range(8)]
    for index, pipeline.shown in enumerate([*approach, *frames]):
        hands = tracker.process(IMAGE, time_s=index / 15)
    return {hand.side: hand.track_id for hand in hands}


def test_what_two_crops_show_of_each_other_keeps_its_identity():
    apart = met([])
    swapped = met([[(380, Side.LEFT), (300, Side.RIGHT)]])
    assert swapped == apart == {Side.RIGHT: 1, Side.LEFT: 2}


@pytest.mark.parametrize("late_s", [0.0, 0.02])
def test_a_stamp_that_comes_twice_or_late_swaps_nothing(late_s):
    pipeline = Shows([Target(Box(50, 160, 180, 180)), Target(Box(450, 160, 180, 180))])
    tracker = HandTracker(pipeline)
    for index, time_s in enumerate((0.0, 0.07, 0.14, 0.14 - late_s, 0.21, 0.28)):
        pipeline.shown = [(140 + 20 * index, Side.RIGHT), (540 - 20 * index, Side.RIGHT)]
        first, second = tracker.process(IMAGE, time_s=time_s)
        assert first.box.center[0] < second.box.center[0]


@dataclass
class FollowsSides(Shows):
    """As ``Shows``, with what an image says of a hand's side in ``right``."""

    calls: list = field(default_factory=list)  # the targets of each, since ``shown`` was set

    def estimate(self, image, camera, targets):
        self.calls.append(targets)
        shown = self.shown
        if len(self.calls) > 1:  # of the same image: crops about hands of the first
            shown = [self._nearest(target.box.center[0]) for target in targets]
        hands = []
        for (x, seen), target in zip(shown, targets, strict=True):
            side = target.side if target.side_source is SideSource.GIVEN else seen
            box = Target(Box(x - 90, 160, 180, 180), side, target.track_id)
            hands.append(replace(_hand(box, 0.9), right=0.98 if seen is Side.RIGHT else 0.02))
        return hands

    def _nearest(self, x):
        return min(self.shown, key=lambda one: abs(one[0] - x))


def test_a_followed_hand_has_one_side_and_another_only_after_lasting_evidence():
    pipeline = FollowsSides([Target(Box(230, 160, 180, 180))])
    tracker = HandTracker(pipeline)

    def sides(*shown):
        for side in shown:
            pipeline.shown, pipeline.calls = [(320, side)], []
            (hand,) = tracker.process(IMAGE)
            assert hand.track_id == 1
            yield hand.side

    assert set(sides(*[Side.RIGHT] * 30)) == {Side.RIGHT}
    assert set(sides(*[Side.RIGHT, Side.LEFT, Side.LEFT] * 5)) == {Side.RIGHT}
    assert set(sides(*[Side.RIGHT] * 15)) == {Side.RIGHT}
    told = list(sides(*[Side.LEFT] * 30))
    assert told == sorted(told, reverse=True) and told[-1] is Side.LEFT


def test_hands_that_swapped_their_identities_are_the_sides_that_they_are():
    pipeline = FollowsSides([Target(Box(50, 160, 180, 180)), Target(Box(450, 160, 180, 180))])
    tracker = HandTracker(pipeline)
    frames = [[(140 + 20 * k, Side.RIGHT), (540 - 20 * k, Side.LEFT)] for k in range(8)]
    for index, pipeline.shown in enumerate([*frames, [(380, Side.LEFT), (300, Side.RIGHT)]]):
        pipeline.calls = []
        hands = tracker.process(IMAGE, time_s=index / 15)
    placed = {hand.track_id: (hand.side, round(hand.box.center[0])) for hand in hands}
    assert placed == {1: (Side.RIGHT, 300), 2: (Side.LEFT, 380)}


def test_a_crop_that_goes_on_with_the_hidden_hand_gets_its_identity():
    alone = [None, (380, Side.LEFT)]  # the right hand is behind the left one
    assert met([alone, [(330, Side.RIGHT)]]) == {Side.RIGHT: 1}


def test_a_side_told_wrong_while_the_other_is_hidden_changes_nothing():
    alone = [None, (380, Side.LEFT)]
    assert met([alone, [(360, Side.RIGHT)]]) == {Side.RIGHT: 2}


@dataclass
class ShowsHands:
    """Each image shows right hands in the boxes ``shown``; a crop sees the one nearest to it."""

    shown: list = field(default_factory=list)
    config, length_ratio = CONFIG, 1.0

    def find(self, image, boxes=None, closer=True):
        return [Target(box) for box in self.shown]

    @property
    def search(self):
        return SimpleNamespace(elsewhere=lambda *_: self.find(None))

    def estimate(self, image, camera, targets):
        hands = []
        for target in targets:
            nearest = min(self.shown, key=lambda box: _apart(box, target.box), default=None)
            if nearest and _apart(nearest, target.box) < target.box.width / 2:
                hands.append(_hand(replace(target, box=nearest, side=Side.RIGHT), 0.9))
        return hands


def _apart(one, other):
    return float(np.linalg.norm(np.subtract(one.center, other.center)))


STEPS_S = st.one_of(
    st.sampled_from((0.0, 1 / 15, 0.1, -0.1, -BACK_S, -0.6, 2e-3, 4.0, 6.0, 1e9, -1e9, 1e300)),
    st.sampled_from((None, math.nan, math.inf, -math.inf)),
    st.floats(-1.0, 2.0),
)
HANDS = st.integers(0, 20).map(lambda k: Box(30.0 * k, 100.0, 90.0, 90.0))
FRAMES = st.lists(st.tuples(STEPS_S, st.lists(HANDS, max_size=6), st.booleans()), max_size=30)


@settings(max_examples=60, deadline=None)
@given(FRAMES)
@example([(-0.2, [Box(x, 100.0, 90.0, 90.0)], False) for x in (0, 600, 0)])
def test_an_identity_is_unique_and_never_used_again_or_found_far_away_whatever_stamps_say(frames):
    pipeline, stamp_s, now_s, numbers = ShowsHands(), 0.0, -math.inf, 0
    tracker, tracking = HandTracker(pipeline), pipeline.config.tracking
    followed, seen = set(), {}  # numbers of the last image; by number, where and when
    for step_s, pipeline.shown, are_given in frames:
        if step_s is None or not math.isfinite(step_s):
            given_s, now_s = step_s, now_s + FRAME_S if math.isfinite(now_s) else 0.0
        else:
            given_s = stamp_s = stamp_s + step_s
            if given_s < now_s - BACK_S:
                now_s, followed, seen = given_s, set(), {}
            now_s = max(now_s, given_s)
        boxes = pipeline.find(IMAGE) if are_given else None
        hands = tracker.process(IMAGE, boxes=boxes, time_s=given_s)
        found = {hand.track_id: hand.box for hand in hands}
        assert len(found) == len(hands) <= tracking.max_hands
        for number, box in found.items():
            if number not in seen:
                assert number > numbers
                continue
            before, seen_s = seen[number]
            away_s = now_s - seen_s
            assert away_s <= (GAP_S if number in followed else tracking.memory)
            size_px = box.width / tracking.crop_scale
            assert _apart(before, box) <= (3 + 2 * away_s) * size_px + 1
        numbers = max([numbers, *found])
        followed, seen = set(found), {**seen, **{k: (box, now_s) for k, box in found.items()}}
