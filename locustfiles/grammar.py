"""Expands the word lists and sentence patterns of `texts/` into numbered sentences.

A TOML file of `texts/TASK/` has `words`, lists of phrases by name, and `sentences`, groups of `patterns` with
their shares of the stream. The `variants` of a group add word lists, a label or plural forms. Both may hold:
    {name}         each phrase of that list; two slots of one phrase never take the same
    {name:8}       those of at most 8 words
    a {name}       "an" where a vowel sound follows
    [one|several]  the first form, or the second in a plural variant
"""

import itertools
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

TEXTS = Path(__file__).parent / "texts"

_SLOT = re.compile(r"(\ba )?{(.*?)}")
_FORMS = re.compile(r"\[(.*?)\|(.*?)\]")
_VOWEL_SOUND = re.compile(r"(?!uni[^n]|us[eu]|one)[aeiou]|hour|honest")


@dataclass(frozen=True)
class Template:
    """A pattern with a table of phrases for each slot; its sentences are numbered 0 to `size` - 1."""

    pattern: str
    tables: tuple[tuple[str, ...], ...]
    weight: int = 1
    label: str | None = None

    @cached_property
    def size(self) -> int:
        return math.prod(map(len, self.tables))

    def text(self, number: int) -> str:
        """Sentence `number`, with a capital letter."""
        phrases = []
        for table in self.tables:
            number, place = divmod(number, len(table))
            phrases.append(table[place])
        text = self.pattern.format(*phrases)
        return text[0].upper() + text[1:]


@cache
def templates(task: str) -> tuple[Template, ...]:
    """Every template of the files in `texts/TASK/`, which share their word lists."""
    files = [tomllib.loads(path.read_text("utf-8")) for path in sorted((TEXTS / task).glob("*.toml"))]
    words = {name: phrases for file in files for name, phrases in file["words"].items()}
    groups = [group for file in files for group in file.get("sentences", ())]
    return tuple(template for group in groups for template in expand(group, words))


def expand(group: Mapping[str, Any], words: Mapping[str, Sequence[str]]) -> Iterator[Template]:
    """The templates of a group of `sentences`: each of its patterns in each of its variants."""
    for variant in group.get("variants", [{}]):
        plural = variant.get("plural", False)
        table = _tables({**words, **variant.get("words", {})}, plural)
        for pattern, weight in group["patterns"].items():
            pattern = _inflect(pattern, plural)
            tables = (
                tuple(_with_article(article, phrase) for phrase in table(slot))
                for article, slot in _SLOT.findall(pattern)
            )
            yield Template(_SLOT.sub("{}", pattern), tuple(tables), weight, variant.get("label"))


def _tables(words: Mapping[str, Sequence[str]], plural: bool) -> Callable[[str], tuple[str, ...]]:
    """A function from a slot to all its phrases, each once."""

    @cache
    def table(slot: str) -> tuple[str, ...]:
        name, _, most = slot.partition(":")
        if name not in words:
            raise ValueError(f"no word list {name!r} for the slot {{{slot}}}")
        phrases = dict.fromkeys(phrase for entry in words[name] for phrase in fill(_inflect(entry, plural)))
        return tuple(phrase for phrase in phrases if not most or len(phrase.split()) <= int(most))

    def fill(entry: str) -> Iterator[str]:
        pattern, slots = _SLOT.sub("{}", entry), _SLOT.findall(entry)
        articles = [article for article, _ in slots]
        for chosen in itertools.product(*(table(slot) for _, slot in slots)):
            if len(set(chosen)) == len(chosen):
                yield pattern.format(*map(_with_article, articles, chosen))

    return table


def _with_article(article: str, phrase: str) -> str:
    """The phrase, after "a" or "an" by its sound where `article` is not empty."""
    if not article:
        return phrase
    return f"an {phrase}" if _VOWEL_SOUND.match(phrase) else f"a {phrase}"


def _inflect(text: str, plural: bool) -> str:
    return _FORMS.sub(r"\2" if plural else r"\1", text)
