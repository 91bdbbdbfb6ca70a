"""Compiled networks on disk: found by name, refused when in doubt."""

import os
import stat
import zipfile

import pytest

from dhpe_ros.engines import store

NAME, ABOUT = "mesh-tensorrt-fp16-0123456789ab.zip", {"torch": "2.13.0", "GPU": "Orin"}
PARTS = {"engine.ep": b"machine code " * 1000}


def read_found(folder, name, about):
    path = store.find(folder, name)
    return path and store.read(path, about)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "engines"
    store.prepare_folder(path)
    store.write(path / NAME, PARTS, ABOUT)
    return path


def test_what_was_written_is_found_and_nothing_else_is_left(folder):
    assert read_found(folder, NAME, ABOUT) == PARTS
    assert [path.name for path in folder.iterdir()] == [NAME]
    assert read_found(folder, "mesh-tensorrt-fp16-other.zip", ABOUT) is None
    assert read_found(folder / "nowhere", NAME, ABOUT) is None


def test_the_folder_is_the_user_s_alone_and_files_are_written_by_nobody_else(folder):
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o644


def test_the_same_parts_are_the_same_file(folder):
    before = (folder / NAME).read_bytes()
    store.write(folder / NAME, PARTS, ABOUT)
    assert (folder / NAME).read_bytes() == before


def test_where_the_user_has_none_those_that_ship_are_looked_through(folder, tmp_path, monkeypatch):
    shipped = folder / NAME
    monkeypatch.setattr(store, "shared_file", lambda name: {f"weights/{NAME}": shipped}[name])
    assert read_found(tmp_path / "empty", NAME, ABOUT) == PARTS


@pytest.mark.parametrize("now", [{"GPU": "Thor"}, {"driver": "580"}])
def test_a_mismatch_names_what_differs_and_the_remedy(folder, now):
    (name,) = now
    expected = f"{name}: {ABOUT.get(name)} then, {now[name]} now.*build it again"
    with pytest.raises(store.EngineError, match=expected):
        read_found(folder, NAME, {**ABOUT, **now})


@pytest.mark.parametrize("harm", ["flipped", "cut", "empty", "foreign", "no about", "odd about"])
def test_a_damaged_file_is_refused(folder, harm):
    path = folder / NAME
    good = path.read_bytes()
    if harm == "no about":
        with zipfile.ZipFile(path, "w") as target:
            target.writestr("engine.ep", b"code")
    elif harm == "odd about":
        with zipfile.ZipFile(path, "w") as target:
            target.writestr("about.json", b"[1, 2]")
    else:
        flipped = good[:60] + bytes([good[60] ^ 1]) + good[61:]
        bad = {"flipped": flipped, "cut": good[:-30], "empty": b"", "foreign": b"\x08\x07onnx"}
        path.write_bytes(bad[harm])
    with pytest.raises(store.EngineError, match=f"{path}: damaged.*delete it"):
        read_found(folder, NAME, ABOUT)


def test_what_others_may_write_is_refused(folder):
    for path in (folder, folder / NAME):
        before = path.stat().st_mode
        for bit in (stat.S_IWOTH, stat.S_IWGRP):
            path.chmod(before | bit)
            with pytest.raises(store.EngineError, match=f"{path}: others may write it"):
                read_found(folder, NAME, ABOUT)
        path.chmod(before)
    assert read_found(folder, NAME, ABOUT)


def test_what_belongs_to_someone_else_is_refused(folder, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(store.EngineError, match="build your own"):
        read_found(folder, NAME, ABOUT)


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_no_engine(folder, tmp_path, dangling):
    (folder / NAME).rename(tmp_path / "elsewhere.zip")
    (folder / NAME).symlink_to(tmp_path / ("nowhere" if dangling else "elsewhere.zip"))
    with pytest.raises(store.EngineError, match="not a plain file"):
        read_found(folder, NAME, ABOUT)


def test_a_folder_behind_a_link_is_refused_with_its_real_name(folder, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    (folder.parent / "renamed").symlink_to(folder)
    for place in (tmp_path / "link" / "engines", folder.parent / "renamed"):
        for use in (store.prepare_folder, lambda place: read_found(place, NAME, ABOUT)):
            with pytest.raises(
                store.EngineError, match=f"a link.*give the folder itself: {folder}"
            ):
                use(place)


def test_a_folder_that_others_could_replace_is_refused(tmp_path):
    parent = tmp_path / "open"
    folder = parent / "deeper" / "engines"
    store.prepare_folder(folder)
    store.write(folder / NAME, PARTS, ABOUT)
    parent.chmod(0o777)
    for use in (store.prepare_folder, lambda place: read_found(place, NAME, ABOUT)):
        with pytest.raises(store.EngineError, match=f"{parent}: others may write it"):
            use(folder)
    parent.chmod(0o1777)  # sticky, as /tmp
    assert read_found(folder, NAME, ABOUT)


def test_a_write_that_fails_leaves_what_was_there(folder, monkeypatch):
    def no_space(*_):
        raise OSError("no space left")

    monkeypatch.setattr(store.Path, "chmod", no_space)
    with pytest.raises(OSError, match="no space"):
        store.write(folder / NAME, {"engine.ep": b"newer"}, ABOUT)
    assert read_found(folder, NAME, ABOUT) == PARTS
    assert [path.name for path in folder.iterdir()] == [NAME]
