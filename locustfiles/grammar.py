"""Templates whose filled sentences can be counted and addressed by an index.

A template is a pattern with one table of phrases a slot. Its sentences are numbered 0 to size - 1,
so a stream can walk them in any order without holding the ones it has used.
"""

import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

_SILENT_H = ("hour", "honest")
_SPOKEN_YU_OR_W = ("uni", "use", "one")


@dataclass(frozen=True)
class Template:
    """A format pattern, its tables in the order of its fields, and its share of the stream."""

    pattern: str
    tables: tuple[tuple[str, ...], ...]
    weight: int
    label: str | None = None

    @cached_property
    def size(self) -> int:
        """How many sentences the template holds."""
        return math.prod(len(table) for table in self.tables)

    def text(self, index: int) -> str:
        """Return sentence number `index`, with its first letter in upper case."""
        chosen = []
        for table in self.tables:
            index, place = divmod(index, len(table))
            chosen.append(table[place])
        text = self.pattern.format(*chosen)
        return text[0].upper() + text[1:]


def template(
    pattern: str, weight: int, tables: Mapping[str, Iterable[str]], label: str | None = None
) -> Template:
    """Build a template from a pattern with named fields; a field may occur more than once."""
    names = re.findall(r"{(\w+)}", pattern)
    filled = tuple(tuple(tables[name]) for name in names)
    return Template(re.sub(r"{\w+}", "{}", pattern), filled, weight, label)


def phrases(text: str) -> tuple[str, ...]:
    """Split a table written as one string, its phrases parted by semicolons."""
    return tuple(phrase for part in text.split(";") if (phrase := " ".join(part.split())))


def combine(pattern: str, **tables: Iterable[str]) -> tuple[str, ...]:
    """Fill a pattern with every combination of its tables, as one larger table."""
    names = list(tables)
    rows = itertools.product(*tables.values())
    return tuple(pattern.format(**dict(zip(names, row, strict=True))) for row in rows)


def with_article(phrase: str) -> str:
    """Put the indefinite article that is spoken before the phrase's first word."""
    vowel = phrase.startswith(_SILENT_H) or (phrase[0] in "aeiou" and not phrase.startswith(_SPOKEN_YU_OR_W))
    return f"an {phrase}" if vowel else f"a {phrase}"


def with_articles(table: Iterable[str]) -> tuple[str, ...]:
    """Put the indefinite article before every phrase of a table."""
    return tuple(with_article(phrase) for phrase in table)


def at_most(words: int, table: Iterable[str]) -> tuple[str, ...]:
    """Keep the phrases of a table that have no more than so many words."""
    return tuple(phrase for phrase in table if len(phrase.split()) <= words)
