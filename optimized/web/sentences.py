"""Texts in sentences, which a translation model reads, and what stands between, which comes back as it is.

OPUS-MT models are trained on sentences, so each is a sequence of its own. Not translated are line breaks,
white space, list marks, what has no letter or digit, and words and symbols that the vocabulary lacks.
"""

import itertools
import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import sentencex

from .carried_words import Carried, put_back, take_out

LINE_BREAKS = re.compile(r"[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
LIST_MARK = re.compile(r"(?:[-*+•‣◦·–—>#]+|\(?(?:\d{1,3}|[A-Za-z])[.)])\s+")
LANGUAGE_CODE = re.compile(r"\s*(>>[^<>\s]+<<)\s*")
WORDS_AND_SYMBOLS = re.compile(r"(?P<word>[\w\u0300-\u036f]+)|[^\w\s]+")
CLAUSE_END = re.compile(r"[,;:–—)]\s+")
SPACE = re.compile(r"\s+")
# What has no look of its own: joiners, variation selectors, the frame of a keycap, tags of flags.
JOINERS = frozenset("\u200d\ufe0e\ufe0f\u20e3") | {chr(code) for code in range(0xE0020, 0xE0080)}


class TranslatedSentence(NamedTuple):
    """`finish_reason`: stop at the end token, length where the bound on new tokens came first."""

    text: str
    finish_reason: Literal["stop", "length"]


class SentenceModel(Protocol):
    """What splitting needs to know of a translation model."""

    source_language: str
    max_input_tokens: int
    unknown_id: int

    def tokenize(self, text: str) -> list[int]: ...


@dataclass(slots=True)
class SplitText:
    """`kept` is what stands before each of the `sentences`, and after the last.

    `carried` is what each sentence held besides; `unreadable` says that there are words, but none for the
    model.
    """

    sentences: list[str]
    kept: list[str]
    carried: list[list[Carried]]
    unreadable: bool = False

    def join(self, translations: list[str]) -> str:
        """The text with its sentences translated."""
        parts = [self.kept[0]]
        for carried, translation, kept in zip(self.carried, translations, self.kept[1:], strict=True):
            parts += (put_back(carried, translation) if carried else translation, kept)
        return "".join(parts)


class SentenceSplitter:
    """Splits texts for a model; each sentence has at most its `max_input_tokens`."""

    def __init__(self, model: SentenceModel) -> None:
        self._model = model
        self._known: set[str] = set()

    def split(self, text: str) -> SplitText:
        """`text` in sentences; a code such as >>deu<< at its start, if the model has it, begins each."""
        split = SplitText([], [""], [])
        prefix = ""
        code = LANGUAGE_CODE.match(text)
        if code and len(ids := self._model.tokenize(code[1])) == 2 and ids[0] != self._model.unknown_id:
            prefix, text = f"{code[1]} ", text[code.end() :]
        at = 0
        for line_break in itertools.chain(LINE_BREAKS.finditer(text), [None]):
            end = line_break.start() if line_break else len(text)
            self._split_line(text[at:end], prefix, split)
            if line_break:
                split.kept[-1] += line_break[0]
                at = line_break.end()
        split.unreadable = not split.sentences and has_words(text)
        return split

    def _split_line(self, line: str, prefix: str, split: SplitText) -> None:
        start = len(line) - len(line.lstrip())
        if mark := LIST_MARK.match(line, start):
            start = mark.end()
        split.kept[-1] += line[:start]
        for segment in sentencex.segment(self._model.source_language, line[start:]):
            for piece in self._divide(segment, prefix):
                sentence = piece.strip()
                before, _, after = piece.partition(sentence) if sentence else (piece, "", "")
                split.kept[-1] += before
                self._add(sentence, prefix, split)
                split.kept[-1] += after

    def _add(self, sentence: str, prefix: str, split: SplitText) -> None:
        """Adds a sentence, or keeps it as it is where nothing of it can be translated."""
        words, first, last = sentence, "", ""
        carried: list[Carried] = []
        if not self._known.issuperset(sentence) and (unknown := self._unknown(sentence)):
            words, carried, first, last = take_out(sentence, unknown)
        if has_words(words):
            split.kept[-1] += first
            split.sentences.append(prefix + words)
            split.carried.append(carried)
            split.kept.append(last)
        else:
            split.kept[-1] += sentence

    def _unknown(self, sentence: str) -> list[tuple[int, int]]:
        """Where the words and symbols of `sentence` lie that the model has no token for."""
        if not self._lacks(sentence):
            self._known.update(char for char in {*sentence} - self._known if not self._lacks(char))
            return []
        found = []
        for match in WORDS_AND_SYMBOLS.finditer(sentence):
            if match["word"]:
                if self._lacks(match[0]):
                    found.append(match.span())
                continue
            at = match.start()
            for lacking, group in itertools.groupby(match[0], self._is_lacking_symbol):
                length = len(symbols := "".join(group))
                if lacking and not JOINERS.issuperset(symbols):
                    found.append((at, at + length))
                at += length
        return found

    def _is_lacking_symbol(self, symbol: str) -> bool:
        return symbol in JOINERS or self._lacks(symbol)

    def _lacks(self, text: str) -> bool:
        return self._model.unknown_id in self._model.tokenize(text)

    def _divide(self, segment: str, prefix: str) -> list[str]:
        """The segment in parts that the model takes: cut after a clause, else a word, else anywhere."""
        parts = []
        while not self._fits(prefix + segment):
            # The longest part that fits lies below the first length, doubled, that does not.
            size = 1
            while size < len(segment) and self._fits(prefix + segment[: 2 * size]):
                size *= 2
            sizes = range(size, min(2 * size, len(segment)))
            size = sizes[bisect_left(sizes, True, key=lambda n: not self._fits(prefix + segment[:n])) - 1]
            cut = max(last_end(CLAUSE_END, segment[:size]) or last_end(SPACE, segment[:size]) or size, 1)
            parts.append(segment[:cut])
            segment = segment[cut:]
        return [*parts, segment]

    def _fits(self, sentence: str) -> bool:
        limit = self._model.max_input_tokens
        # Of ASCII no token is shorter than a character, but for a word boundary and the end.
        if sentence.isascii() and len(sentence) + 2 <= limit:
            return True
        return len(self._model.tokenize(sentence)) <= limit


def has_words(text: str) -> bool:
    return any(map(str.isalnum, text))


def last_end(pattern: re.Pattern[str], text: str) -> int:
    """Where the last match of `pattern` ends; 0 if there is none behind the first character."""
    return max((match.end() for match in pattern.finditer(text) if match.start()), default=0)
