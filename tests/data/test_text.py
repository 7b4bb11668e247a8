"""Which queries count as the same."""

import pytest

from twofold.data.text import normalise_query, query_key


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Space-Operas!", "space opera"),
        ("  MOVIES   about  cities ", "movy about city"),
        ("boss, bus & his kiss", "boss bus his kiss"),
        ("Tim Burton's", "tim burton"),
        ("???", ""),
    ],
)
def test_case_punctuation_and_plural_make_no_difference(text: str, normal: str) -> None:
    assert normalise_query(text) == normal


def test_a_query_without_a_word_is_the_same_as_itself_alone() -> None:
    assert query_key(" ??? ") == query_key("???")
    assert query_key("???") != query_key("!!!")
