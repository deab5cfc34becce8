"""Segments that are replaced one by one are a valid gzip member at any time."""

from __future__ import annotations

import gzip

from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.compression import Member, compress

TEXTS = st.binary(max_size=40)


@given(st.integers(0, 40), st.lists(st.dictionaries(st.integers(0, 39), TEXTS)), TEXTS)
def test_a_member_has_the_present_text_of_every_segment(
    count: int, replacements: list[dict[int, bytes]], last: bytes
) -> None:
    member, texts = Member(count), [b""] * count
    for replaced in replacements:
        fitting = {number: text for number, text in replaced.items() if number < count}
        member.replace({number: compress(text) for number, text in fitting.items()})
        for number, text in fitting.items():
            texts[number] = text
        assert gzip.decompress(b"".join(member.parts(compress(last)))) == b"".join([*texts, last])
