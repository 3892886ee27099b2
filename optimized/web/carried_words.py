"""Words and symbols that a model cannot read, carried over to where they stood.

Fed to the model they would be one token for "unknown", and vanish. A translation has its words in another
order, so between words their place is only kept in proportion.
"""

import re
from typing import NamedTuple

LAST_SYMBOLS = re.compile(r"[^\w\s]+$")


class Carried(NamedTuple):
    """Characters that are not translated, after a `share` of the words; `attached` to the one before."""

    share: float
    attached: bool
    characters: str


def take_out(sentence: str, spans: list[tuple[int, int]]) -> tuple[str, list[Carried], str, str]:
    """The sentence without `spans`; what they carry; and those of them that it begins and ends with."""
    spans = joined(sentence, spans)
    first = last = ""
    if spans[0][0] == 0:
        _, end = spans.pop(0)
        first = sentence[: (end := end + leading_space(sentence[end:]))]
        sentence, spans = sentence[end:], [(start - end, stop - end) for start, stop in spans]
    if spans and spans[-1][1] == len(sentence):
        start, _ = spans.pop()
        last = sentence[(start := len(sentence[:start].rstrip())) :]
        sentence = sentence[:start]
    words, at = "", 0
    places: list[tuple[int, bool, str]] = []
    for start, stop in spans:
        words += sentence[at:start]
        places.append((len(words.split()), not words[-1:].isspace(), sentence[start:stop]))
        rest = sentence[stop:]
        words = words.rstrip() + (" " if rest[0].isspace() or rest[0].isalnum() else "")
        at = stop + leading_space(rest)
    words += sentence[at:]
    total = max(len(words.split()), 1)
    carried = [Carried(count / total, attached, characters) for count, attached, characters in places]
    return words, carried, first, last


def joined(sentence: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans, of which those with nothing but white space between them are one."""
    together = [spans[0]]
    for start, stop in spans[1:]:
        if sentence[together[-1][1] : start].strip():
            together.append((start, stop))
        else:
            together[-1] = (together[-1][0], stop)
    return together


def leading_space(text: str) -> int:
    return len(text) - len(text.lstrip())


def put_back(carried: list[Carried], translation: str) -> str:
    """The translation with what its sentence carried, after as large a share of its words."""
    end = LAST_SYMBOLS.search(translation)
    symbols = end[0] if end else ""
    words = translation[: len(translation) - len(symbols)].split()
    places = [round(one.share * len(words)) for one in carried]
    for place, one in reversed([*zip(places, carried, strict=True)]):
        if one.attached and place:
            words[place - 1] += one.characters
        else:
            words.insert(place, one.characters)
    return " ".join(words) + symbols
