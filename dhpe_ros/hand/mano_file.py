"""Reader of MANO-format hands; its errors name the file and the fault.

Reads ``.npz`` (the open hand, or a converted model) and the ``MANO_RIGHT.pkl`` that its licensees
download. The unpickler knows numpy arrays, and inert stand-ins for chumpy's arrays and scipy's
sparse matrices, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from dhpe_ros.files.array_pickle import (
    ArrayUnpickler,
    RefusedError,
    StandIn,
    as_array,
    read_array_pickle,
)
from dhpe_ros.files.npz import read_npz
from dhpe_ros.hand.kernels.layout import BONE_COUNT, PARENTS, VERTEX_COUNT
from dhpe_ros.types import JOINT_COUNT

TRIANGLE_COUNT = 1538
EXTRAS = ("tips", "landmarks", "wrist_loop", "theta_std", "pose_limits", "pose_axes", "licence")
MANO_TIPS = (745, 333, 444, 555, 672)  # thumb, index, middle, ring, little

SHAPES = {
    "v_template": (VERTEX_COUNT, 3),
    "f": (TRIANGLE_COUNT, 3),
    "shapedirs": (VERTEX_COUNT, 3, 10),
    "posedirs": (VERTEX_COUNT, 3, 135),
    "J_regressor": (BONE_COUNT, VERTEX_COUNT),
    "weights": (VERTEX_COUNT, BONE_COUNT),
    "kintree_table": (2, BONE_COUNT),
    "hands_components": (45, 45),
    "hands_mean": (45,),
}

_MOST_NUMBERS = 10_000_000  # of a sparse matrix, unfolded
_MOST_BYTES = 64 * 2**20  # of an array


@dataclass(frozen=True)
class ManoFile:
    """The arrays of a MANO-format right hand; metres, float32 (``f`` and ``tips`` integer).

    ``extras`` holds arrays of the open hand that MANO lacks (``theta_std``, ``pose_limits`` ...).
    """

    arrays: dict[str, np.ndarray]
    tips: np.ndarray  # (5,) vertices of thumb, index, middle, ring and little finger tip
    extras: dict[str, np.ndarray]


def read_mano_file(path: str | Path) -> ManoFile:
    """Read and check a hand model.

    Raises ``FileNotFoundError`` for a missing file and ``ValueError`` that names the key, the shape
    that was expected and the one that came, for a file that is not a right hand in MANO's format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no hand model at {path}")
    if path.suffix == ".npz":
        raw = read_npz(path, SHAPES, optional=EXTRAS, most_bytes=_MOST_BYTES)
    else:
        raw = _read_pickle(path)
    arrays = {key: _checked(path, key, raw.get(key), shape) for key, shape in SHAPES.items()}
    _check_topology(path, arrays)
    extras = {k: _array(path, k, raw[k]) for k in EXTRAS if k in raw}
    tips = np.asarray(extras.pop("tips", MANO_TIPS), np.int64)
    if tips.shape != (5,) or tips.min() < 0 or tips.max() >= VERTEX_COUNT:
        raise ValueError(f"{path}: 'tips' must be 5 vertex indices below {VERTEX_COUNT}")
    if "landmarks" in extras:
        _check_landmarks(path, extras["landmarks"])
    return ManoFile(arrays, tips, extras)


def _read_pickle(path: Path) -> dict[str, Any]:
    loaded = read_array_pickle(path, _ManoUnpickler, expected="MANO_RIGHT.pkl or an .npz")
    if not isinstance(loaded, dict):
        raise ValueError(f"{path}: expected a dictionary of arrays, got {type(loaded).__name__}")
    return loaded


class _StateStandIn(StandIn):
    """Holds the pickled state of an object, whose code never runs."""

    state: Mapping[str, Any] = MappingProxyType({})  # a pickle may make objects without one

    def __init__(self, *_args: object) -> None:
        """Take whatever the pickle gives."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


class _ChumpyStandIn(_StateStandIn):
    def resolve(self) -> np.ndarray:
        if "x" in self.state:  # chumpy.ch.Ch: a plain array
            return as_array(self.state["x"])
        if "a" in self.state and "idxs" in self.state:  # chumpy.reordering.Select
            picked = as_array(self.state["a"]).ravel()[as_array(self.state["idxs"])]
            return picked.reshape(self.state.get("preferred_shape", picked.shape))
        raise ValueError("holds a chumpy expression this reader does not know")


class _SparseStandIn(_StateStandIn):
    def resolve(self) -> np.ndarray:
        from scipy import sparse  # which the open hand does without

        parts = tuple(as_array(self.state[key]) for key in ("data", "indices", "indptr"))
        rows, columns = shape = self.state.get("_shape", self.state.get("shape"))
        if not 0 <= rows * columns <= _MOST_NUMBERS:
            raise ValueError(f"is a sparse matrix of {rows} x {columns} that cannot be")
        by_column = self.state.get("format", "csc") == "csc"
        matrix = (sparse.csc_matrix if by_column else sparse.csr_matrix)(parts, shape)
        matrix.check_format(full_check=True)  # else indices may lie beyond the matrix
        return matrix.toarray()


class _ManoUnpickler(ArrayUnpickler):
    """Finds only the classes that MANO's pickle is made of."""

    holds = "a MANO pickle holds only numpy arrays, scipy sparse matrices and chumpy arrays"

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("scipy.sparse") and name in ("csc_matrix", "csr_matrix"):
            return _SparseStandIn
        if module.startswith("chumpy") and name in ("Ch", "Select"):
            return _ChumpyStandIn
        if module in ("copy_reg", "copyreg") and name == "_reconstructor":
            return _reconstruct_stand_in
        if module in ("__builtin__", "builtins") and name == "object":
            return object
        return super().find_class(module, name)


def _reconstruct_stand_in(cls: type, *_args: object) -> Any:
    """Protocol-0 pickles build objects through ``copyreg``: only stand-ins may be built so."""
    if cls not in (_ChumpyStandIn, _SparseStandIn):
        raise RefusedError(f"refused to build a {cls.__name__}")
    return cls()


def _array(path: Path, key: str, value: Any) -> np.ndarray:
    try:
        return as_array(value)
    except Exception as error:  # a forged state can raise nearly anything
        raise ValueError(f"{path}: key '{key}' is not a numeric array ({error})") from error


def _checked(path: Path, key: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    if value is None:
        raise ValueError(f"{path}: key '{key}' is missing; is this a MANO hand (MANO_RIGHT.pkl)?")
    array = _array(path, key, value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{path}: key '{key}' must hold numbers, got {array.dtype}")
    if key == "shapedirs" and array.ndim == 3 and array.shape[2] > shape[2]:
        array = array[:, :, : shape[2]]  # some releases carry more components, by falling variance
    if array.shape != shape:
        raise ValueError(f"{path}: key '{key}' must have shape {shape}, got {array.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        array = array.astype(np.int64 if key in ("f", "kintree_table") else np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: key '{key}' holds values that are not finite")
    return array


def _check_landmarks(path: Path, landmarks: np.ndarray) -> None:
    if landmarks.shape != (JOINT_COUNT, JOINT_COUNT) or landmarks.dtype.kind != "f":
        raise ValueError(
            f"{path}: 'landmarks' must be {JOINT_COUNT} x {JOINT_COUNT} floats, "
            f"got {landmarks.dtype} {landmarks.shape}"
        )
    if not np.allclose(landmarks.sum(1), 1, atol=1e-4):  # else they do not move with the hand
        raise ValueError(f"{path}: each row of 'landmarks' must sum to one")


def _check_topology(path: Path, arrays: dict[str, np.ndarray]) -> None:
    triangles = arrays["f"]
    if triangles.min() < 0 or triangles.max() >= VERTEX_COUNT:
        raise ValueError(f"{path}: key 'f' holds vertex indices outside 0..{VERTEX_COUNT - 1}")
    parents = tuple(int(p) for p in arrays["kintree_table"][0, 1:])
    if parents != PARENTS[1:]:
        raise ValueError(
            f"{path}: key 'kintree_table' must hold MANO's tree {PARENTS[1:]}, got {parents}"
        )
    joints = arrays["J_regressor"] @ arrays["v_template"]
    if joints[4, 0] > joints[0, 0]:  # a right hand's fingers point along -x in MANO's frame
        raise ValueError(
            f"{path}: this is a left hand; give the right one, left hands are made by mirroring it"
        )
