"""JSON files with a checksum: every flipped bit is noticed."""

import json

import pytest

from leaf_st.errors import InputError
from leaf_st.sealed import read_sealed, write_sealed

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
