"""The files of a snapshot are compared with the hub's checksums, however huggingface_hub has laid them out."""

import os

import pytest
from hub import COMMIT

from leaf_st.errors import InputError
from leaf_st.hub.downloads import hashes_of, require_undamaged

XET = "4d" * 32  # the name of a shared file is no checksum of its content
CONTENTS = {"config.json": b"{}", "1_Pooling/config.json": b"[]", "model.safetensors": b"weights"}


def _link(place, target):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(os.path.relpath(target, place.parent))


def _snapshot(cache, owner, layout):
    """Lay out ``CONTENTS`` as a download by Xet or plain HTTP leaves them, or one onto a file system without links."""
    repository = cache / f"models--{owner}--tiny"
    snapshot = repository / "snapshots" / COMMIT
    for name, content in CONTENTS.items():
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(content)
        if layout == "copies":
            continue
        hashes = hashes_of(snapshot / name)
        is_large = name.endswith(".safetensors")
        blob = repository / "blobs" / (hashes.sha256 if is_large else hashes.git)
        file = cache / "blobs" / XET[:2] / XET if is_large and layout == "xet" else blob
        file.parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).replace(file)
        if file != blob:
            _link(blob, file)
        _link(snapshot / name, blob)
    (repository / "trees").mkdir()
    (repository / "trees" / f"{COMMIT}.json").touch()
    return snapshot


def _there(cache):
    return sorted(path for path in cache.rglob("*") if not path.is_dir())


def _flip(file):
    content = file.read_bytes()
    file.write_bytes(bytes([*content[:-1], content[-1] ^ 1]))


@pytest.mark.parametrize("layout", ["xet", "http", "copies"])
def test_undamaged_files_stay_in_every_layout(tmp_path, layout):
    snapshot = _snapshot(tmp_path, "us", layout)
    before = _there(tmp_path)
    require_undamaged(snapshot, "us/tiny")
    assert _there(tmp_path) == before


@pytest.mark.parametrize("layout", ["xet", "http"])
@pytest.mark.parametrize("name", ["1_Pooling/config.json", "model.safetensors"])
def test_a_damaged_file_is_deleted_with_all_links_to_it(tmp_path, layout, name):
    snapshot = _snapshot(tmp_path, "us", layout)
    link = snapshot / name
    repository = snapshot.parents[1]
    chain = {link, repository / "blobs" / link.readlink().name, link.resolve()}
    removed = {*chain, repository / "trees" / f"{COMMIT}.json"}
    before = _there(tmp_path)
    _flip(link.resolve())
    with pytest.raises(InputError, match=rf"^us/tiny: expected the content .* for {name}, which was deleted: "):
        require_undamaged(snapshot, "us/tiny")
    assert _there(tmp_path) == sorted({*before} - removed)
    require_undamaged(snapshot, "us/tiny")


def test_a_file_that_another_model_shares_stays_unless_it_is_damaged(tmp_path):
    ours, theirs = (_snapshot(tmp_path, owner, "xet") for owner in ("us", "them"))
    _flip((ours / "config.json").resolve())
    with pytest.raises(InputError, match=r" for config\.json, which was deleted"):
        require_undamaged(ours, "us/tiny")
    assert (ours / "model.safetensors").read_bytes() == CONTENTS["model.safetensors"]
    require_undamaged(theirs, "them/tiny")
    assert {name: (theirs / name).read_bytes() for name in CONTENTS} == CONTENTS


def test_two_names_of_one_damaged_file_are_deleted(tmp_path):
    snapshot = _snapshot(tmp_path, "us", "xet")
    (snapshot / "copy.safetensors").symlink_to((snapshot / "model.safetensors").readlink())
    _flip((snapshot / "model.safetensors").resolve())
    with pytest.raises(InputError, match=r" for copy\.safetensors, model\.safetensors, which was deleted"):
        require_undamaged(snapshot, "us/tiny")
    assert sorted(path.name for path in snapshot.iterdir()) == ["1_Pooling", "config.json"]
