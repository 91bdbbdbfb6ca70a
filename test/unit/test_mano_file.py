"""Hand files: MANO's pickle with its chumpy objects, our .npz, wrong ones, and hostile ones."""

import os
import pickle
import sys
import types

import numpy as np
import pytest

from dhpe_ros.hand.mano_file import MANO_TIPS, SHAPES, read_mano_file
from dhpe_ros.networks.weights import hand_model_path


@pytest.fixture(scope="module")
def arrays():
    return read_mano_file(hand_model_path()).arrays


class Ch:
    def __init__(self, x):
        self.x = x


class Select:
    def __init__(self, a, idxs, preferred_shape):
        self.a, self.idxs, self.preferred_shape = a, idxs, preferred_shape


class csc_matrix:  # noqa: N801 - scipy's own name
    def __init__(self, dense):
        rows, columns = dense.shape
        taken = [np.nonzero(dense[:, c])[0] for c in range(columns)]
        self.data = np.concatenate([dense[r, c] for c, r in enumerate(taken)])
        self.indices = np.concatenate(taken)
        self.indptr = np.cumsum([0] + [len(r) for r in taken])
        self._shape, self.format = (rows, columns), "csc"


@pytest.fixture
def chumpy(monkeypatch):
    """Put the classes above where chumpy's and scipy's are, so that a pickle names those."""
    homes = {"chumpy.ch": Ch, "chumpy.reordering": Select, "scipy.sparse.csc": csc_matrix}
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    for name, kind in homes.items():
        module = types.ModuleType(name)
        setattr(module, kind.__name__, kind)
        monkeypatch.setattr(kind, "__module__", name)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_like_manos_is_read_without_chumpy(
    tmp_path, arrays, chumpy, monkeypatch, protocol
):
    raw = dict(arrays)
    raw["v_template"] = Ch(arrays["v_template"].astype(np.float64))
    order = np.arange(arrays["shapedirs"].size)[::-1]
    backwards = arrays["shapedirs"].ravel()[::-1].copy()
    raw["shapedirs"] = Select(Ch(backwards), order, SHAPES["shapedirs"])
    raw["J_regressor"] = csc_matrix(arrays["J_regressor"])
    raw["bs_style"] = "lbs"
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps(raw, protocol=protocol))
    for name in [n for n in sys.modules if n.startswith("chumpy")]:
        monkeypatch.delitem(sys.modules, name)
    loaded = read_mano_file(path)
    for key, array in arrays.items():
        assert np.allclose(loaded.arrays[key], array), key
    assert tuple(loaded.tips) == MANO_TIPS  # a MANO file names no tips of its own


class _Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_code_in_a_pickle_never_runs(tmp_path, arrays, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps({**arrays, "weights": _Evil()}))
    with pytest.raises(ValueError, match=r"refused to load (posix|nt)\.system"):
        read_mano_file(path)
    assert not (tmp_path / "pwned").exists()


def _write(path, arrays, **changes):
    changed = {**arrays, **changes}
    np.savez(path, **{key: value for key, value in changed.items() if value is not None})
    return path


@pytest.mark.parametrize("key", sorted(SHAPES))
def test_a_missing_key_is_named(tmp_path, arrays, key):
    path = _write(tmp_path / "hand.npz", arrays, **{key: None})
    with pytest.raises(ValueError, match=f"hand.npz: key '{key}' is missing"):
        read_mano_file(path)


@pytest.mark.parametrize("key", sorted(set(SHAPES) - {"shapedirs"}))
def test_a_wrong_shape_is_named_with_both_shapes(tmp_path, arrays, key):
    path = _write(tmp_path / "hand.npz", arrays, **{key: arrays[key][:-1]})
    with pytest.raises(ValueError, match=rf"'{key}' must have shape \(.*\), got \(.*\)"):
        read_mano_file(path)


def test_wrong_values_are_named(tmp_path, arrays):
    holes = arrays["weights"].copy()
    holes[3, 4] = np.nan
    with pytest.raises(ValueError, match="'weights' holds values that are not finite"):
        read_mano_file(_write(tmp_path / "a.npz", arrays, weights=holes))
    beyond = arrays["f"].copy()
    beyond[0, 0] = 778
    with pytest.raises(ValueError, match="'f' holds vertex indices outside"):
        read_mano_file(_write(tmp_path / "b.npz", arrays, f=beyond))
    tree = arrays["kintree_table"].copy()
    tree[0, 5] = 9
    with pytest.raises(ValueError, match="'kintree_table' must hold MANO's tree"):
        read_mano_file(_write(tmp_path / "c.npz", arrays, kintree_table=tree))


def _landmarks(change=None, size=21, dtype=np.float32):
    matrix = np.eye(size, dtype=dtype)
    if change is not None:
        matrix[4, 3] = change
    return matrix


@pytest.mark.parametrize(
    ("landmarks", "complaint"),
    [
        (_landmarks(size=20), r"'landmarks' must be 21 x 21 floats, got float32 \(20, 20\)"),
        (np.ones(21, np.float32), r"'landmarks' must be 21 x 21 floats, got float32 \(21,\)"),
        (_landmarks().astype(str), r"'landmarks' must be 21 x 21 floats, got <U32 \(21, 21\)"),
        (_landmarks(change=0.1), "each row of 'landmarks' must sum to one"),
        (_landmarks(change=np.nan), "each row of 'landmarks' must sum to one"),
    ],
)
def test_wrong_landmarks_are_named(tmp_path, arrays, landmarks, complaint):
    with pytest.raises(ValueError, match=f"hand.npz: {complaint}"):
        read_mano_file(_write(tmp_path / "hand.npz", arrays, landmarks=landmarks))


def test_a_left_hand_is_refused_with_the_remedy(tmp_path, arrays):
    left = arrays["v_template"] * (-1, 1, 1)
    with pytest.raises(ValueError, match="this is a left hand; give the right one"):
        read_mano_file(_write(tmp_path / "left.npz", arrays, v_template=left))


@pytest.mark.parametrize("name", ["hand.npz", "hand.pkl"])
@pytest.mark.parametrize("content", [b"", b"not a model", b"\x80\x04."])
def test_rubbish_is_refused_by_file_name(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=name):
        read_mano_file(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no hand model at .*nowhere\.npz"):
        read_mano_file(tmp_path / "nowhere.npz")
