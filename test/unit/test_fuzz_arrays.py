"""Pickles and .npz files from outside: forged, deep, boundless, mutated."""

import io
import pickle
import struct
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fuzzing import fuzz, in_child

from dhpe_lab.datasets.labelled_hand import LabelledHand
from dhpe_ros.files.array_pickle import StandIn, as_array, read_array_pickle
from dhpe_ros.files.npz import read_npz
from dhpe_ros.files.resources import shared_file
from dhpe_ros.hand.mano_file import read_mano_file

RNG = np.random.default_rng(3)
ARRAYS = {
    "floats": RNG.normal(size=(3, 4)),
    "columns": np.asfortranarray(RNG.normal(size=(5, 2)).astype(np.float32)),
    "big-endian": RNG.integers(0, 9, (2, 3)).astype(">i4"),
    "booleans": np.array([True, False]),
    "strided": np.arange(12.0)[::2],
}
# c: GLOBAL, R: REDUCE, b: BUILD, p: PUT, g: GET, .: STOP
DTYPE = b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"


def written(tmp_path, content, name="file.pickle"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def python_2(array):
    """Pickle of an array as Python 2 writes it in protocol 0, its bytes as an escaped text."""
    code, order = array.dtype.str[1:].encode(), array.dtype.str[:1].replace("|", "<").encode()
    escaped = "".join(f"\\x{byte:02x}" for byte in array.tobytes()).encode()
    shape = b"".join(b"I%d\n" % side for side in array.shape)
    dtype = DTYPE % code + b"(I3\nS'%s'\nNNNI-1\nI-1\nI0\ntb" % order
    return ARRAY + b"(I1\n(" + shape + b"t" + dtype + b"I00\nS'" + escaped + b"'\ntb."


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_come_back_from_every_protocol(tmp_path, protocol):
    content = pickle.dumps({**ARRAYS, "word": "lbs", "scalar": np.float32(2.5)}, protocol)
    loaded = read_array_pickle(written(tmp_path, content), expected="arrays")
    assert (loaded["word"], loaded["scalar"]) == ("lbs", 2.5)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(as_array(loaded[name]), array)
        assert as_array(loaded[name]).dtype == array.dtype


def test_arrays_of_python_2_come_back(tmp_path):
    content = python_2(ARRAYS["floats"])
    loaded = as_array(read_array_pickle(written(tmp_path, content), expected="an array"))
    np.testing.assert_array_equal(loaded, ARRAYS["floats"])


def test_a_pickle_with_many_entries_is_not_deep(tmp_path):
    for protocol in (0, 2):
        content = pickle.dumps({n: [n] * 3 for n in range(5000)}, protocol)
        assert len(read_array_pickle(written(tmp_path, content), expected="lists")) == 5000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        # A set hashes what is in it, too.
        (b"\x80\x04\x8f(" + b")" + b"\x85" * 1000 + b"\x90.", "not a readable pickle"),
        (b"\x80\x04(" + b")" + b"\x85" * 1000 + b"\x91.", "not a readable pickle"),
        # A type with fields that lie outside the item: NumPy would read what is there.
        (DTYPE % b"V8" + b"(I3\nS'|'\nN(S'a'\nt(dS'a'\n(" + DTYPE % b"O8" + b"I1000000\ntsI8\n"
         b"I1\nI0\ntb.", "the type 'V8'"),
        (DTYPE % b"f8" + b"(I3\nS'<'\n(" + DTYPE % b"f8" + b"(I9\nttNNI-1\nI-1\nI0\ntb.",
         "a type with parts"),
        (DTYPE % b"O8" + b".", "the type 'O8'"),
        (ARRAY + b"(I1\n(I1\nt" + DTYPE % b"f8" + b"I00\n(lI5\natb.", "got objects"),
        (ARRAY + b"(I1\n(I1\ntS'f8'\nI00\nS'12345678'\ntb.", "got objects"),
        (ARRAY + b"(I1\n(I9\nt" + DTYPE % b"f8" + b"I00\nS'12345678'\ntb.",
         r"float64 \(9,\) cannot have 8 bytes"),
        (ARRAY + b"(I1\n(I-1\nI-1\nt" + DTYPE % b"f8" + b"I00\nS'12345678'\ntb.", "no shape"),
        (b"cnumpy\nndarray\n((I100000\nI100000\nttR.", "not a readable pickle"),
        (b"\x80\x02})" + b"\x85" * 100_000 + b"K\x01s.", "a key that is a tuple"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.", "not a readable pickle"),
        (b"c_codecs\nencode\n(S'abc'\nS'zlib'\ntR.", "refused to encode"),
        (b"cnumpy\nload\n(S'/etc/passwd'\ntR.", r"refused to load numpy\.load"),
        (b"cnumpy\ndtype\n(N(dS'find_class'\nNstb.", "not a readable pickle"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_forged_is_refused(tmp_path, content, reason):
    with pytest.raises(ValueError, match=rf"file\.pickle: .*{reason}"):
        read_array_pickle(written(tmp_path, content), expected="arrays")


def test_lists_that_share_their_parts_are_not_unfolded(tmp_path):
    shared = [0.0]
    for _ in range(20):
        shared = [shared] * 10
    content = pickle.dumps({"v_template": shared})
    with pytest.raises(ValueError, match=r"'v_template' is not a numeric array .*is a list"):
        read_mano_file(written(tmp_path, content, "hand.pkl"))


@pytest.mark.parametrize(
    "state",
    [
        {"_shape": (10**6, 10**6), "indptr": np.zeros(10**6 + 1, np.int64)},
        {"_shape": (1, 1), "indptr": np.array((0, 10**12))},
        {"_shape": (1, 1), "indptr": np.array((0, -5))},
    ],
)
def test_a_sparse_matrix_that_cannot_be_is_not_unfolded(tmp_path, state):
    state = {"data": np.zeros(1), "indices": np.zeros(1, np.int64), **state}
    content = b"\x80\x02}X\x0a\x00\x00\x00v_templatecscipy.sparse.csc\ncsc_matrix\n)\x81"
    content += pickle.dumps(state, 2)[2:-1] + b"bs."
    with pytest.raises(ValueError, match=r"'v_template' is not a numeric array \("):
        read_mano_file(written(tmp_path, content, "hand.pkl"))


def npz_of(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(array, claimed=None):
    """An array as .npy, whose header may claim another shape."""
    file = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(file, {**header, "shape": claimed or array.shape})
    return file.getvalue() + array.tobytes()


def test_members_that_nobody_asked_for_are_not_unpacked(tmp_path):
    objects = io.BytesIO()
    np.save(objects, np.array([None]), allow_pickle=True)
    content = npz_of(a=npy(np.arange(3)), b=b"no array", c=objects.getvalue())
    path = written(tmp_path, content, "file.npz")
    assert list(read_npz(path, ["a"], optional=["d"])) == ["a"]
    for name in "bc":
        with pytest.raises(ValueError, match=rf"file\.npz: key '{name}': not a readable .npz"):
            read_npz(path, [name])


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (npy(np.zeros(2), (10**6, 10**6)), "claims 8000000000000 bytes, more than 1000"),
        (npy(np.zeros(2), (3,)), "claims 24 bytes and has 16"),
        (npy(np.zeros(1000)), "claims 8000 bytes, more than 1000"),
        (npy(np.zeros(2, "S8")), "neither numbers nor text"),
    ],
)
def test_members_that_claim_too_much_are_not_read(tmp_path, member, reason):
    with pytest.raises(ValueError, match=reason):
        read_npz(written(tmp_path, npz_of(a=member), "file.npz"), ["a"], most_bytes=1000)


def test_a_mesh_that_claims_more_than_it_has_is_refused(tmp_path):
    hand = SimpleNamespace(mesh_file=written(tmp_path, npy(np.zeros((2, 3))), "mesh.npy"))
    assert LabelledHand.mesh_m(hand).shape == (2, 3)
    for content in (npy(np.zeros(2), (10**6, 10**6)), b"", b"no array"):
        written(tmp_path, content, "mesh.npy")
        with pytest.raises(ValueError, match=r"mesh\.npy: not a readable \.npy file"):
            LabelledHand.mesh_m(hand)


def fuzz_pickles():
    def read(path: Path):
        loaded = read_array_pickle(path, expected="arrays")
        for value in loaded.values() if isinstance(loaded, dict) else ():
            if isinstance(value, StandIn | np.ndarray):
                assert as_array(value).tobytes() is not None

    seeds = [pickle.dumps(ARRAYS, protocol) for protocol in (0, 2, 4, 5)]
    memo = b"\x80\x02K\x01r\xff\xff\xff\x7f."  # an unpickler in C takes 16 GB for it
    fuzz(read, [*seeds, python_2(ARRAYS["floats"]), memo], ValueError, rounds=2000)


def fuzz_npz():
    def read(path: Path):
        for array in read_npz(path, ARRAYS, optional=["more"]).values():
            assert array.tobytes() is not None

    plain, packed = io.BytesIO(), io.BytesIO()
    np.savez(plain, **ARRAYS)
    np.savez_compressed(packed, **ARRAYS)
    fuzz(read, [plain.getvalue(), packed.getvalue()], (ValueError, OSError), rounds=500)


def fuzz_hands():
    """The whole reader, of both kinds of file."""
    model = shared_file("weights/open_hand.npz")
    with np.load(model) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "licence"}

    def read(path: Path):
        kind = ".npz" if path.read_bytes()[:2] == b"PK" else ".pkl"
        read_mano_file(path.rename(path.with_suffix(kind)))

    seeds = [model.read_bytes(), *(pickle.dumps(arrays, protocol) for protocol in (2, 4))]
    fuzz(read, seeds, (ValueError, OSError), rounds=50)


@pytest.mark.parametrize("what", ["pickles", "npz", "hands"])
def test_mutated_files_are_read_or_refused(what):
    in_child(f"test_fuzz_arrays.fuzz_{what}()")
