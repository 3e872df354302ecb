"""JSON files with a checksum: every flipped bit is noticed."""

import json

import pytest

from leaf_st.errors import InputError
from leaf_st.sealed import read_sealed, write_once, write_sealed

VALUE = {"rows": 12, "name": "é", "parts": [1.5, None, {"deep": True}]}


def test_each_flipped_bit_is_noticed_or_changes_no_value(tmp_path):
    path = tmp_path / "value.json"
    write_sealed(path, VALUE)
    assert read_sealed(path) == VALUE
    content, noticed = path.read_bytes(), 0
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            found = read_sealed(path)
        except ValueError:  # no JSON, or an InputError
            noticed += 1
            continue
        assert {key: found.get(key) for key in VALUE} == VALUE
    assert noticed > 4 * len(content)


def test_the_file_and_the_remedy_are_named(tmp_path):
    path = tmp_path / "value.json"
    write_sealed(path, VALUE)
    path.write_text(path.read_text().replace("12", "13"))
    with pytest.raises(InputError, match=r"value\.json is damaged: .* delete its entry \"checksum\" if you changed"):
        read_sealed(path)
    path.write_text(json.dumps({"rows": 13}))  # as earlier versions wrote it
    assert read_sealed(path) == {"rows": 13}


def test_each_object_of_a_list_has_a_checksum(tmp_path):
    path = tmp_path / "rows.json"
    rows = [{"set": "a", "score": 12.5}, {"rates": {1: 2.0, 10: 3.0, 2: 4.0}, "sizes": (1, 2)}]
    write_sealed(path, rows)
    assert read_sealed(path) == json.loads(json.dumps(rows))
    path.write_text(path.read_text().replace("12.5", "13.5"))
    with pytest.raises(InputError, match=r"rows\.json is damaged"):
        read_sealed(path)
    path.write_text(json.dumps(rows))  # as earlier versions wrote it
    assert read_sealed(path)[0] == rows[0]


def test_a_damaged_file_is_written_again(tmp_path, caplog):
    path, calls = tmp_path / "counts.npy", []

    def write(temporary):
        calls.append(temporary)
        temporary.write_bytes(b"counts")

    for _ in range(2):
        write_once(path, write)
    assert (len(calls), path.read_bytes(), caplog.messages) == (1, b"counts", [])
    for file in sorted(tmp_path.iterdir()):
        file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
        caplog.clear()
        write_once(path, write)
        assert path.read_bytes() == b"counts"
        assert caplog.messages == [f"{path} is damaged: the file is written again"]
    (tmp_path / "counts.npy.checksum").unlink()  # as a kill or an earlier version left it
    caplog.clear()
    write_once(path, write)
    assert (len(calls), caplog.messages) == (4, [])
