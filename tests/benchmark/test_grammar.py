"""The grammar of the texts: one derivation a text, bounded lengths, articles and forms that agree."""

import itertools
import re
from collections.abc import Iterable

import pytest

from locustfiles.grammar import Template, expand, templates
from locustfiles.inputs import TASKS


def expanded(pattern: str, words: dict[str, list[str]], variant: dict | None = None) -> list[str]:
    (template,) = expand({"patterns": {pattern: 1}, "variants": [variant or {}]}, words)
    return [template.text(number) for number in range(template.size)]


class Automaton:
    """Every derivation of every template, spelled word by word."""

    def __init__(self, templates: Iterable[Template]) -> None:
        self.after: list[dict[str, int]] = []
        self.skip: list[list[int]] = []
        self.ends: set[int] = set()
        self.starts = [self._spell(each) for each in templates]

    def is_ambiguous(self) -> bool:
        """Whether two derivations spell one text, by running both in parallel."""
        if any(len(skips) > 1 for skips in self.skip):
            return True
        pairs = set(itertools.combinations(self.starts, 2))
        for state, skips in enumerate(self.skip):
            for skip in skips:
                pairs |= self._step({state}, self._reach(skip))
        waiting = list(pairs)
        while waiting:
            one, other = waiting.pop()
            ones, others = self._reach(one), self._reach(other)
            if one == other or (ones & self.ends and others & self.ends):
                return True
            fresh = self._step(ones, others) - pairs
            pairs |= fresh
            waiting.extend(fresh)
        return False

    def _step(self, ones: set[int], others: set[int]) -> set[tuple[int, int]]:
        return {
            (self.after[one][word], self.after[other][word])
            for one, other in itertools.product(ones, others)
            for word in self.after[one].keys() & self.after[other].keys()
        }

    def _reach(self, state: int) -> set[int]:
        return {state}.union(*(self._reach(skip) for skip in self.skip[state]))

    def _spell(self, each: Template) -> int:
        assert not re.search(r"[^ ]{}|{}[^ .,:!?]", each.pattern)
        first, *literals = each.pattern.split("{}")
        start = self._state()
        state = self._path(start, first)
        for table, literal in zip(each.tables, literals, strict=True):
            joint = self._state()
            for phrase in table:
                self.skip[self._path(state, phrase)].append(joint)
            state = self._path(joint, literal)
        self.ends.add(state)
        return start

    def _path(self, state: int, text: str) -> int:
        for word in re.findall(r"[^\s.,:!?]+|[.,:!?]", text.lower()):
            if word not in self.after[state]:
                self.after[state][word] = self._state()
            state = self.after[state][word]
        return state

    def _state(self) -> int:
        self.after.append({})
        self.skip.append([])
        return len(self.after) - 1


@pytest.mark.parametrize("task", TASKS)
def test_no_text_has_two_derivations(task):
    assert not Automaton(templates(task)).is_ambiguous()


A, B, C, D = ("x", "x y"), ("z", "y z"), ("x is",), ("v", "v")


@pytest.mark.parametrize(
    "ambiguous",
    [
        [Template("{} {}.", (A, B))],
        [Template("{} is {}.", (A, B)), Template("{} {}.", (C, B))],
        [Template("{} {}.", (D, D))],
    ],
)
def test_the_automaton_sees_a_text_with_two_derivations(ambiguous):
    assert Automaton(ambiguous).is_ambiguous()


@pytest.mark.parametrize("task", TASKS)
def test_no_template_can_leave_the_bounds_of_5_to_30_words(task):
    for each in templates(task):
        counts = [[len(phrase.split()) for phrase in table] for table in each.tables]
        literal = len(each.pattern.split()) - len(counts)
        assert literal + sum(map(min, counts)) >= 5, each.pattern
        assert literal + sum(map(max, counts)) <= 30, each.pattern


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("red hat", "A red hat"),
        ("orange hat", "An orange hat"),
        ("uniform", "A uniform"),
        ("useful coat", "A useful coat"),
        ("ugly coat", "An ugly coat"),
        ("unfunny joke", "An unfunny joke"),
        ("honest man", "An honest man"),
        ("house", "A house"),
        ("one-way street", "A one-way street"),
    ],
)
def test_the_article_follows_the_sound(phrase, expected):
    assert expanded("a {phrase}", {"phrase": [phrase]}) == [expected]
    assert expanded("{thing}", {"phrase": [phrase], "thing": ["a {phrase}"]}) == [expected]
    assert expanded("the pizza {phrase}", {"phrase": [phrase]}) == [f"The pizza {phrase}"]


def test_a_list_of_limited_length_keeps_the_short_phrases():
    assert expanded("{place:2}", {"place": ["at home", "here", "in the park"]}) == ["At home", "Here"]


def test_the_slots_of_a_phrase_never_take_the_same_word():
    words = {"word": ["dull", "old"], "both": ["a {word} and {word}"]}
    assert expanded("{both}", words) == ["A dull and old", "An old and dull"]


def test_forms_agree_with_the_number_of_the_variant():
    words = {"act": ["riding [a bicycle|bicycles]", "walking"], "their": ["his"]}
    pattern = "he [is|are] {act} with {their} dog"
    assert expanded(pattern, words) == ["He is riding a bicycle with his dog", "He is walking with his dog"]
    assert expanded(pattern, words, {"plural": True, "words": {"their": ["their"]}}) == [
        "He are riding bicycles with their dog",
        "He are walking with their dog",
    ]


def test_a_slot_without_a_list_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no word list 'hats' for the slot {hats:2}"):
        expanded("{hats:2}", {"hat": ["cap"]})
