"""Engines on disk: found by what they were built for, refused when in doubt."""

import json
import os
import stat

import pytest

from dhpe_ros.engines import store
from dhpe_ros.engines.identity import Identity

COMMAND = "dhpe export --profile lite --backend aoti --precision bf16"
ITEMS = {
    "profile": "lite", "backend": "aoti", "precision": "bf16", "device": "cpu",
    "network weights": "a" * 64, "torch": "2.13.0", "GPU": "none",
    "CPU instruction set": "x86_64 " + " ".join(f"flag{k}" for k in range(20)),
}  # fmt: skip


def identity(**changes):
    return Identity(ITEMS | {k.replace("_", " "): v for k, v in changes.items()}, COMMAND)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "engines"
    store.prepare_folder(path)
    return path


def write(folder, one=None):
    """An engine of two files; the path of its JSON file."""
    sources = {}
    for network in ("evidence", "mesh"):
        sources[network] = folder.parent / f"{network}.pt2"
        sources[network].write_bytes(f"machine code of the {network} network".encode())
    return store.write(folder, one or identity(), sources, {"seconds": 1.5})


def test_what_was_written_is_found(folder):
    sidecar = write(folder)
    found = store.find(folder, identity())
    assert found["mesh"].read_bytes() == b"machine code of the mesh network"
    assert json.loads(sidecar.read_text())["about"] == {"seconds": 1.5}
    assert {p.parent for p in found.values()} == {folder}
    assert not list(folder.glob("*.partial"))


def test_files_and_folder_are_the_user_s_alone(folder):
    write(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}


def test_what_was_never_built_comes_with_the_command_that_builds_it(folder):
    with pytest.raises(store.MissingEngineError, match=f"no engine lite-cpu-aoti-bf16.*{COMMAND}"):
        store.find(folder, identity())
    with pytest.raises(store.MissingEngineError):
        store.find(folder / "nowhere", identity())


@pytest.mark.parametrize(
    ("item", "value", "said"),
    [
        ("torch", "2.14.0", r"torch: 2\.13\.0 then, 2\.14\.0 now"),
        ("GPU", "Orin", "GPU: none then, Orin now"),
        ("network weights", "b" * 64, "network weights: aaaaaaaaaaaa then, bbbbbbbbbbbb now"),
        ("CPU instruction set", ITEMS["CPU instruction set"].replace("flag7 ", "amx "),
         "CPU instruction set: this machine is without flag7, with amx"),
    ],
)  # fmt: skip
def test_a_mismatch_names_what_differs_and_the_command_that_rebuilds(folder, item, value, said):
    write(folder)
    with pytest.raises(store.EngineError, match=said) as refused:
        store.find(folder, Identity(ITEMS | {item: value}, COMMAND))
    assert not isinstance(refused.value, store.MissingEngineError)
    assert str(refused.value).endswith(COMMAND)
    assert str(refused.value).count(" now") <= 1, "what is equal is not named"


def test_of_several_engines_the_nearest_is_named(folder):
    write(folder, identity(torch="2.12.0", GPU="Thor"))
    write(folder, identity(torch="2.12.0"))
    with pytest.raises(store.EngineError, match="torch") as refused:
        store.find(folder, identity())
    assert "GPU" not in str(refused.value)


def test_engines_of_two_configurations_live_side_by_side(folder):
    for weights in ("a" * 64, "b" * 64):
        write(folder, identity(network_weights=weights))
    paths = [store.find(folder, identity(network_weights=w * 64))["mesh"] for w in "ab"]
    assert paths[0] != paths[1]


def test_a_changed_byte_a_cut_and_a_lost_file_are_refused(folder):
    write(folder)
    engine = store.find(folder, identity())["mesh"]
    good = engine.read_bytes()
    for bad, said in ((b"M" + good[1:], "its content"), (good[:-3], "bytes instead of")):
        engine.write_bytes(bad)
        with pytest.raises(store.EngineError, match=f"damaged.*{said}.*{COMMAND}"):
            store.find(folder, identity())
    engine.unlink()
    with pytest.raises(store.EngineError, match="No such file"):
        store.find(folder, identity())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "items": {}, "files": 3}']
)
def test_a_damaged_json_file_is_refused(folder, text):
    write(folder).write_text(text)
    with pytest.raises(store.EngineError, match="damaged"):
        store.find(folder, identity())


def test_a_json_file_that_lies_about_its_items_is_refused(folder):
    sidecar = write(folder)
    content = json.loads(sidecar.read_text())
    content["items"]["torch"] = "2.12.0"
    sidecar.write_text(json.dumps(content))
    with pytest.raises(store.EngineError, match=r"torch: 2\.12\.0 then"):
        store.find(folder, identity())


def test_a_json_file_names_no_file_outside_its_folder(folder):
    sidecar = write(folder)
    content = json.loads(sidecar.read_text())
    outside = folder.parent / "outside.pt2"
    outside.write_bytes(b"foreign")
    content["files"]["mesh"]["file"] = "../outside.pt2"
    sidecar.write_text(json.dumps(content))
    with pytest.raises(store.EngineError, match=r"engines/outside\.pt2: No such file"):
        store.find(folder, identity())


def test_what_others_may_write_is_refused(folder):
    write(folder)
    engine = store.find(folder, identity())["mesh"]
    for path in (folder, engine, next(folder.glob("*.json"))):
        before = path.stat().st_mode
        for bit in (stat.S_IWOTH, stat.S_IWGRP):
            path.chmod(before | bit)
            with pytest.raises(store.EngineError, match=f"{path}: others may write it"):
                store.find(folder, identity())
        path.chmod(before)
    assert store.find(folder, identity())


def test_what_belongs_to_someone_else_is_refused(folder, monkeypatch):
    write(folder)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(store.EngineError, match="build your own"):
        store.find(folder, identity())


def test_a_link_is_no_engine(folder, tmp_path):
    write(folder)
    engine = store.find(folder, identity())["mesh"]
    engine.rename(tmp_path / "elsewhere.pt2")
    engine.symlink_to(tmp_path / "elsewhere.pt2")
    with pytest.raises(store.EngineError, match="not a plain file"):
        store.find(folder, identity())


def test_a_folder_behind_a_link_is_refused_with_its_real_name(folder, tmp_path):
    write(folder)
    (tmp_path / "link").symlink_to(tmp_path)
    (folder.parent / "renamed").symlink_to(folder)
    for place in (tmp_path / "link" / "engines", folder.parent / "renamed"):
        for use in (store.prepare_folder, lambda place: store.find(place, identity())):
            with pytest.raises(
                store.EngineError, match=f"a link.*give the folder itself: {folder}"
            ):
                use(place)
    assert store.find(folder, identity())


def test_a_folder_that_others_could_replace_is_refused(tmp_path):
    parent = tmp_path / "open"
    folder = parent / "deeper" / "engines"
    store.prepare_folder(folder)
    write(folder)
    parent.chmod(0o777)
    for use in (store.prepare_folder, lambda place: store.find(place, identity())):
        with pytest.raises(store.EngineError, match=f"{parent}: others may write it"):
            use(folder)
    parent.chmod(0o1777)  # sticky, as /tmp
    assert store.find(folder, identity())


def test_a_build_that_ends_halfway_is_refused_not_believed(folder, monkeypatch):
    write(folder)

    def no_space(*_):
        raise OSError("no space left")

    monkeypatch.setattr(store.Path, "write_text", no_space)
    sources = {network: folder.parent / f"{network}.pt2" for network in ("evidence", "mesh")}
    for source in sources.values():
        source.write_bytes(b"newer")
    with pytest.raises(OSError, match="no space"):
        store.write(folder, identity(), sources, {})
    with pytest.raises(store.EngineError, match="damaged"):
        store.find(folder, identity())
