from hypothesis import given
from hypothesis import strategies as st

from leaf_st.texts.fold import folded

ascii_texts = st.text(st.characters(codec="ascii"))


@given(ascii_texts)
def test_ascii_texts_are_folded_like_others(text):
    accented = folded(text + " é")
    assert (folded(text) if any(map(str.isalnum, text)) else "") == accented.removesuffix("é").removesuffix(" ")


@given(ascii_texts)
def test_texts_without_words_keep_their_characters(text):
    if not any(map(str.isalnum, text)):
        assert folded(text) == text.strip()
