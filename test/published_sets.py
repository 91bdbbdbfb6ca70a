"""Writes tiny folders in the formats of RHD and STB, with their quirks, out of made-up hands."""

import pickle
from pathlib import Path

import cv2
import numpy as np

from dhpe_ros.types import BONES, JOINT_NAMES

K_RHD = np.array(((283.1, 0, 160), (0, 283.1, 160), (0, 0, 1)), np.float32)
STB_JOINTS = ("palm", *(f"{f}{k}" for f in ("little", "ring", "middle", "index", "thumb")
                        for k in (1, 2, 3, 4)))  # fmt: skip


def hand_m(right: bool, center: tuple[float, float, float], turn: float = 0.0) -> np.ndarray:
    """``(21, 3)`` metres in this project's order: a spread hand, palm to the camera, half bent."""
    joints = [np.zeros(3)]
    for finger in range(5):
        angle = np.radians((-50, -15, 0, 14, 28)[finger])  # thumb to little, from up
        along = np.array((np.sin(angle), -np.cos(angle), 0))
        reach = np.array((0.04, 0.07, 0.095, 0.115) if finger == 0 else (0.09, 0.125, 0.15, 0.17))
        depths = (0.0, 0.004, 0.012, 0.022)
        joints += [along * r + (0, 0, d) for r, d in zip(reach, depths, strict=True)]
    points = np.array(joints) * (1 if right else -1, 1, 1)
    c, s = np.cos(turn), np.sin(turn)
    return points @ np.array(((c, s, 0), (-s, c, 0), (0, 0, 1))) + center


def project(points_m: np.ndarray, K: np.ndarray) -> np.ndarray:
    seen = points_m @ np.asarray(K, float).T
    return seen[..., :2] / seen[..., 2:]


# ---------------------------------------------------------------- RHD


def write_rhd(folder: Path, training: int = 4, evaluation: int = 4) -> Path:
    """Pictures with an even number show a near left hand and a far right one, odd ones not so."""
    for part, count in (("training", training), ("evaluation", evaluation)):
        for kind in ("color", "mask"):
            (folder / part / kind).mkdir(parents=True)
        labels = {number: _rhd_picture(folder / part, number) for number in range(count)}
        file = folder / part / f"anno_{part}.pickle"
        file.write_bytes(pickle.dumps(labels, protocol=2))
    return folder


def _rhd_picture(part: Path, number: int) -> dict[str, np.ndarray]:
    near, far = (-0.02, 0.07, 0.42), (0.16, 0.16, 0.8)
    left, right = (near, far) if number % 2 == 0 else (far, near)
    turn = 0.1 * number
    hands = hand_m(False, left, turn), hand_m(True, right, turn)
    image = np.full((320, 320, 3), (90, 120, 60), np.uint8)
    mask = np.zeros((320, 320), np.uint8)
    order = sorted((0, 1), key=lambda k: -hands[k][0, 2])  # the nearer one is drawn last
    for k in order:
        pixels = project(hands[k], K_RHD)
        width = int(5 / hands[k][0, 2])
        # An arm below the wrist: the person's, class 1.
        _line(mask, pixels[0], pixels[0] + (0, 90), 1, width)
        _line(image, pixels[0], pixels[0] + (0, 90), (150, 170, 210), width)
        for index, (a, b) in enumerate(BONES):
            finger, bone = divmod(index, 4)
            # Three classes a finger from its tip on, then the palm.
            value = 17 if bone == 0 else 2 + 3 * finger + (3 - bone)
            _line(mask, pixels[a], pixels[b], value + 16 * k, width)
            _line(image, pixels[a], pixels[b], (140, 160, 200 + 2 * finger), width)
    near_side = order[-1]
    _dot(image, project(hands[near_side], K_RHD)[JOINT_NAMES.index("index4")])
    cv2.imwrite(str(part / f"color/{number:05d}.png"), image)
    cv2.imwrite(str(part / f"mask/{number:05d}.png"), mask)
    xyz = np.concatenate([_tip_to_base(hand) for hand in hands]).astype(np.float32)
    uv = project(xyz, K_RHD)
    visible = np.ones((42, 1))
    visible[[1, 22]] = 0  # both thumb tips
    return {"K": K_RHD, "xyz": xyz, "uv_vis": np.hstack((uv, visible)).astype(np.float32)}


def _tip_to_base(joints: np.ndarray) -> np.ndarray:
    fingers = [joints[1 + 4 * k : 5 + 4 * k][::-1] for k in range(5)]
    return np.concatenate((joints[:1], *fingers))


def _line(image: np.ndarray, start: np.ndarray, end: np.ndarray, value, width: int) -> None:
    a, b = (tuple(int(v) for v in point) for point in (start, end))
    cv2.line(image, a, b, value, width)


def _dot(image: np.ndarray, place: np.ndarray) -> None:
    """A soft white dot over black, at a place that is measured from the picture's corner."""
    rows, columns = np.mgrid[: len(image), : image.shape[1]] + 0.5  # middles of the pixels
    squared = (columns - place[0]) ** 2 + (rows - place[1]) ** 2
    image[squared < 100] = 0
    image[squared < 100] += (255 * np.exp(-squared[squared < 100] / 8))[:, None].astype(np.uint8)


# ---------------------------------------------------------------- STB

STEREO_K = ((822.79041, 0, 318.47345), (0, 822.79041, 250.31296), (0, 0, 1))
COLOR_K = ((607.92271, 0, 314.78337), (0, 607.88192, 236.42484), (0, 0, 1))
BASELINE_M = 0.120054


def stb_hand_m(moment: int) -> np.ndarray:
    """Joints of every sequence, in the frame of the left picture or of the colour camera."""
    return hand_m(False, (0.03, 0.08, 0.55 + 0.03 * moment), 0.2 * moment)


def write_stb(folder: Path, write_mat, moments: int = 2, cameras=("BB", "SK")) -> Path:
    """All twelve sequences; ``write_mat(path, mapping)`` writes the labels."""
    (folder / "labels").mkdir(parents=True)
    blank = cv2.imencode(".png", np.full((480, 640, 3), 110, np.uint8))[1].tobytes()
    views = {"BB": ("BB_left", "BB_right"), "SK": ("SK_color",)}
    for scene in range(1, 7):
        for kind in ("Counting", "Random"):
            name = f"B{scene}{kind}"
            (folder / "images" / name).mkdir(parents=True)
            for camera in cameras:
                hands = np.array([stb_hand_m(moment) for moment in range(moments)])
                if camera == "SK":  # labels are in the depth camera's frame
                    turned = cv2.Rodrigues(np.array((0.00531, -0.01196, 0.00301)))[0]
                    hands = hands @ turned.T + np.array((-24.0381, -0.4563, -1.2326)) / 1000
                path = folder / "labels" / f"{name}_{camera}.mat"
                write_mat(path, {"handPara": 1000 * _stb_order(hands).transpose(2, 1, 0)})
                for view in views[camera]:
                    for moment in range(moments):
                        (folder / "images" / name / f"{view}_{moment}.png").write_bytes(blank)
    return folder


def _stb_order(hands: np.ndarray) -> np.ndarray:
    palm = (hands[:, 0] + hands[:, JOINT_NAMES.index("ring1")]) / 2
    rows = [palm if name == "palm" else hands[:, JOINT_NAMES.index(name)] for name in STB_JOINTS]
    return np.stack(rows, 1)


# ---------------------------------------------------------------- Dexter+Object

DEXTER_K = ((587.45209, 0, 325), (0, 600.67456, 249), (0, 0, 1))
DEXTER_TURN = np.array(
    ((0.9999, 0.0034, 0.0161), (-0.0033, 1.0000, -0.0079), (-0.0162, 0.0079, 0.9998))
)
DEXTER_SHIFT_M = np.array((0.0190473, -0.0018514, -0.0047501))
DEXTER_TIPS = [JOINT_NAMES.index(f"{f}4") for f in ("thumb", "index", "middle", "ring", "little")]


def dexter_hand_m(moment: int) -> np.ndarray:
    """Joints of every sequence, in the depth camera's frame."""
    return hand_m(False, (0.02, 0.05, 0.45 + 0.02 * moment), 0.1 * moment)


def write_dexter_object(folder: Path, moments: int = 3) -> Path:
    """Six sequences; the thumb is missing in the second picture, every tip in the third."""
    blank = cv2.imencode(".png", np.full((480, 640, 3), 120, np.uint8))[1].tobytes()
    for name in ("Grasp1", "Grasp2", "Occlusion", "Rigid", "Pinch", "Rotate"):
        base = folder / "data" / name
        for kind in ("color", "depth", "annotations"):
            (base / kind).mkdir(parents=True)
        lines = []
        for moment in range(moments):
            (base / f"color/image_{moment:05d}_color.png").write_bytes(blank)
            tips_mm = 1000 * dexter_hand_m(moment)[DEXTER_TIPS] * (-1, -1, 1)
            missing = {1: [0], 2: range(5)}.get(moment, [])
            fields = [
                "0, 0, 32001" if k in missing else ", ".join(f"{v:.4f}" for v in tip)
                for k, tip in enumerate(tips_mm)
            ]
            corners = ["1, 2, 3"] * 3  # of the object, which come after the tips
            lines.append(";".join([*fields, *corners]) + ";")
        (base / f"annotations/{name}3D.txt").write_text("\n".join(lines) + "\n")
    return folder
