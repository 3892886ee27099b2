"""The two models in ONNX Runtime INT8: many texts in at once, as many answers out."""

import json
import logging
import sys
from collections.abc import Hashable
from typing import Any

import numpy as np

from .artefacts import Artefact
from .config import Settings
from .decoder import SlotDecoder
from .errors import InvalidInput
from .graphs import Graphs, load_session
from .row import Row
from .schemas import Sentiment
from .tokenization import BertTokenizer, MarianTokenizer

log = logging.getLogger(__name__)

WARMUP_TEXT = "Two dogs are playing in the snow."
# What a larger batch would tell is not worth the wait for it at each start.
LARGEST_WARMUP_BATCH = 64


class Translator:
    """English to German with a Marian model, greedy or by beam search."""

    def __init__(self, artefact: Artefact, settings: Settings) -> None:
        artefact.verify()
        self.fingerprint = artefact.fingerprint
        self.tokenizer = MarianTokenizer(artefact.folder)
        self.graphs = Graphs.load(artefact.folder, artefact.kernels)
        self.limits: dict[str, Any] = artefact.facts["generation"]
        self.max_input_tokens = min(settings.max_input_tokens, self.limits["max_tokens"])
        self._settings = settings
        # A decoder's buffers serve one batch at a time; as many exist as batches ran at once.
        self._idle_decoders: list[SlotDecoder] = []

    def tokenize(self, text: str, where: list[str | int]) -> list[int]:
        """Token ids, the end token among them; InvalidInput where there are too many or nothing readable."""
        return checked(self.tokenizer.encode(text), self.tokenizer.meaningless, self.max_input_tokens, where)

    def max_new_tokens(self, source_tokens: int) -> int:
        limits = self.limits
        wanted = limits["tokens_per_source_token"] * source_tokens + limits["extra_tokens"]
        return min(wanted, limits["max_tokens"])

    def warmup_batches(self) -> list[list[list[int]]]:
        """What an engine runs before it is ready, and learns its speed from."""
        settings = self._settings
        # Slots are filled by several joins, which the limit of a run does not bound.
        in_slots = settings.translation_batching == "continuous"
        max_batch_tokens = sys.maxsize if in_slots else settings.max_batch_tokens
        return warmup_batches(
            self.tokenizer.encode(WARMUP_TEXT), settings.max_batch_size, max_batch_tokens
        )

    def infer(self, batch: list[list[int]]) -> list[str]:
        """The translations of a batch, in order."""
        limits = [self.max_new_tokens(len(token_ids)) for token_ids in batch]
        least = limits if self.limits["fixed_length"] else [0] * len(batch)
        try:
            decoder = self._idle_decoders.pop()
        except IndexError:
            decoder = self.new_decoder()
        try:
            output = decoder.generate(batch, limits, least, keep_ended=self._settings.translation_batching == "static")
        finally:
            self._idle_decoders.append(decoder)
        return [self.text(token_ids) for token_ids in output]

    def new_decoder(self) -> SlotDecoder:
        return SlotDecoder(self.graphs, self._settings.max_batch_size)

    def row(self, key: Hashable, token_ids: list[int], num_beams: int) -> Row:
        """What a decoder's slot needs to translate `token_ids`."""
        limit = self.max_new_tokens(len(token_ids))
        return Row(key, token_ids, limit, limit if self.limits["fixed_length"] else 0, num_beams)

    def text(self, token_ids: list[int]) -> str:
        """The text that the tokens of a translation spell."""
        return self.tokenizer.decode(token_ids)


class SentimentClassifier:
    """POSITIVE or NEGATIVE, with the softmax probability of the label."""

    def __init__(self, artefact: Artefact, settings: Settings) -> None:
        artefact.verify()
        self.fingerprint = artefact.fingerprint
        config = json.loads((artefact.folder / "config.json").read_text())
        self.labels = [config["id2label"][str(index)] for index in range(2)]
        self.tokenizer = BertTokenizer(artefact.folder)
        self.session = load_session(artefact.folder / "model.onnx", artefact.kernels)
        self.max_input_tokens = min(settings.max_input_tokens, config["max_position_embeddings"])
        self._settings = settings

    def tokenize(self, text: str, where: list[str | int]) -> list[int]:
        """Token ids, [CLS] and [SEP] among them; InvalidInput where there are too many or nothing readable."""
        return checked(self.tokenizer.encode(text), self.tokenizer.meaningless, self.max_input_tokens, where)

    def warmup_batches(self) -> list[list[list[int]]]:
        """What an engine runs before it is ready, and learns its speed from."""
        settings = self._settings
        return warmup_batches(
            self.tokenizer.encode(WARMUP_TEXT), settings.max_batch_size, settings.max_batch_tokens
        )

    def infer(self, batch: list[list[int]]) -> list[Sentiment]:
        """The sentiments of a batch, in order."""
        # Texts follow each other without padding; the graph finds its rows by their lengths.
        packed = {
            "input_ids": np.concatenate(batch, dtype=np.int64),
            "row_len": np.array([len(token_ids) for token_ids in batch], np.int32),
        }
        (logits,) = self.session.run(["logits"], packed)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = weights / weights.sum(axis=1, keepdims=True)
        best = probabilities.argmax(axis=1)
        return [
            Sentiment(label=self.labels[index], score=float(row[index]))
            for index, row in zip(best, probabilities, strict=True)
        ]


class Models:
    """Both models, loaded; engines warm them up."""

    def __init__(self, translation: Artefact, sentiment: Artefact, settings: Settings) -> None:
        self.translator = Translator(translation, settings)
        self.classifier = SentimentClassifier(sentiment, settings)


def load_models(translation: Artefact, sentiment: Artefact, settings: Settings) -> Models:
    """The models; with `settings.faults` such as fail on command."""
    models = Models(translation, sentiment, settings)
    if settings.faults is not None:
        from .faults import inject

        inject(models, settings)
    return models


def warmup_batches(
    token_ids: list[int], max_batch_size: int, max_batch_tokens: int
) -> list[list[list[int]]]:
    """A batch of one such text, and one of as many as the limits allow, but at most LARGEST_WARMUP_BATCH."""
    most = min(max_batch_size, max_batch_tokens // len(token_ids), LARGEST_WARMUP_BATCH)
    return [[token_ids] * size for size in (1, max(most, 1))]


def checked(token_ids: list[int], meaningless: set[int], limit: int, where: list[str | int]) -> list[int]:
    """`token_ids`, if there are at most `limit` and some that are not `meaningless`."""
    if len(token_ids) > limit:
        raise InvalidInput((where, f"Text should have at most {limit} tokens, not {len(token_ids)}"))
    if meaningless.issuperset(token_ids):
        raise InvalidInput((where, "Text should hold a word that the model can read"))
    return token_ids
