"""The two models in ONNX Runtime INT8: many texts in as one padded tensor, as many answers out."""

import json
from typing import Any

import numpy as np

from .artefacts import Artefact
from .beam_decoder import BeamDecoder
from .config import Settings
from .errors import InvalidInput
from .graphs import Graphs, load_session
from .schemas import Sentiment
from .tokenization import BertTokenizer, MarianTokenizer

WARMUP_TEXT = "Two dogs are playing in the snow."
WARMUP_RUNS = 2


class Translator:
    """English to German with a Marian model; greedy unless beams are asked for."""

    def __init__(self, artefact: Artefact, settings: Settings) -> None:
        artefact.verify()
        self.fingerprint = artefact.fingerprint
        self.tokenizer = MarianTokenizer(artefact.folder)
        self.graphs = Graphs.load(artefact.folder, artefact.kernels)
        self.limits: dict[str, Any] = artefact.facts["generation"]
        self.max_input_tokens = min(settings.max_input_tokens, self.limits["max_tokens"])
        # A decoder's buffers serve one batch at a time; as many exist as batches ran at once.
        self._idle_decoders = [BeamDecoder(self.graphs)]

    def tokenize(self, text: str, where: list[str | int]) -> list[int]:
        """Token ids, the end token among them; InvalidInput where there are too many or nothing readable."""
        return checked(self.tokenizer.encode(text), self.tokenizer.meaningless, self.max_input_tokens, where)

    def max_new_tokens(self, source_tokens: int) -> int:
        limits = self.limits
        wanted = limits["tokens_per_source_token"] * source_tokens + limits["extra_tokens"]
        return min(wanted, limits["max_tokens"])

    def infer(self, batch: list[list[int]], num_beams: int = 1) -> list[str]:
        """The translations of a batch, in order."""
        limits = [self.max_new_tokens(len(token_ids)) for token_ids in batch]
        least = limits if self.limits["fixed_length"] else [0] * len(batch)
        decoder = self._idle_decoder()
        try:
            output = decoder.search(batch, limits, least, num_beams)
        finally:
            self._idle_decoders.append(decoder)
        return [self.tokenizer.decode(token_ids) for token_ids in output]

    def _idle_decoder(self) -> BeamDecoder:
        try:
            return self._idle_decoders.pop()
        except IndexError:
            return BeamDecoder(self.graphs)


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

    def tokenize(self, text: str, where: list[str | int]) -> list[int]:
        """Token ids, [CLS] and [SEP] among them; InvalidInput where there are too many or nothing readable."""
        return checked(self.tokenizer.encode(text), self.tokenizer.meaningless, self.max_input_tokens, where)

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
    """Both models, loaded and warm."""

    def __init__(self, translation: Artefact, sentiment: Artefact, settings: Settings) -> None:
        self.translator = Translator(translation, settings)
        self.classifier = SentimentClassifier(sentiment, settings)
        for model in (self.translator, self.classifier):
            for _ in range(WARMUP_RUNS):
                model.infer([model.tokenizer.encode(WARMUP_TEXT)])


def load_models(translation: Artefact, sentiment: Artefact, settings: Settings) -> Models:
    """The models; with `settings.faults` such as fail on command."""
    models = Models(translation, sentiment, settings)
    if settings.faults is not None:
        from .faults import inject

        inject(models, settings.faults)
    return models


def checked(
    token_ids: list[int], meaningless: set[int], limit: int, where: list[str | int]
) -> list[int]:
    """`token_ids`, if there are at most `limit` and some that are not `meaningless`."""
    if len(token_ids) > limit:
        raise InvalidInput((where, f"Text should have at most {limit} tokens, not {len(token_ids)}"))
    if meaningless.issuperset(token_ids):
        raise InvalidInput((where, "Text should hold a word that the model can read"))
    return token_ids
