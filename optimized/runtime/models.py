"""The two models in ONNX INT8, loaded: what both ways of running them have in common."""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..web.model_files import ModelFiles
from ..web.request_context import RequestContext
from ..web.schemas import Sentiment
from ..web.sentences import TranslatedSentence
from .graphs import Graphs, load_session
from .onnx_files import kernel_library
from .tokenization import BertTokenizer, MarianTokenizer


class MarianModel:
    """A Marian model: its graphs, its tokenizer, and how long its translations may be.

    With `screening` greedy steps screen the vocabulary, where the model was prepared for that.
    """

    def __init__(self, files: ModelFiles, max_input_tokens: int, *, screening: bool = False) -> None:
        files.verify()
        self.tokenizer = MarianTokenizer(files.folder)
        self.tokenize, self.meaningless = self.tokenizer.encode, self.tokenizer.meaningless
        self.graphs = Graphs.load(files.folder, kernel_library(files), screening=screening)
        self.limits: dict[str, Any] = files.facts["generation"]
        self.source_language: str = files.facts["source_language"]
        self.unknown_id = self.tokenizer.unknown_id
        self.max_input_tokens = min(max_input_tokens, self.limits["max_tokens"])

    def new_tokens(self, source_tokens: int) -> tuple[int, int]:
        """The most and the least tokens of a translation of `source_tokens` tokens."""
        limits = self.limits
        wanted = limits["tokens_per_source_token"] * source_tokens + limits["extra_tokens"]
        most = min(wanted, limits["max_tokens"])
        return most, most if limits["fixed_length"] else 0

    def sentence(self, token_ids: list[int]) -> TranslatedSentence:
        """What the tokens of a translation spell."""
        ended = token_ids[-1:] == [self.tokenizer.end_id]
        return TranslatedSentence(self.tokenizer.decode(token_ids), "stop" if ended else "length")


class SentimentClassifier:
    """POSITIVE or NEGATIVE, with the softmax probability of the label."""

    def __init__(self, files: ModelFiles, max_input_tokens: int) -> None:
        files.verify()
        config = json.loads((files.folder / "config.json").read_text())
        self.labels = [config["id2label"][str(index)] for index in range(2)]
        self.tokenizer = BertTokenizer(files.folder)
        self.tokenize, self.meaningless = self.tokenizer.encode, self.tokenizer.meaningless
        self.session = load_session(files.folder / "model.onnx", kernel_library(files))
        self.max_input_tokens = min(max_input_tokens, config["max_position_embeddings"])

    def classify(self, batch: list[list[int]]) -> list[Sentiment]:
        """The sentiments of a batch, in order."""
        # Texts follow each other without padding; the graph finds its rows by their lengths.
        row_len = np.array([len(token_ids) for token_ids in batch], np.int32)
        packed = {"input_ids": np.concatenate(batch, dtype=np.int64), "row_len": row_len}
        (logits,) = self.session.run(["logits"], packed)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = weights / weights.sum(axis=1, keepdims=True)
        return [Sentiment(label=self.labels[row.argmax()], score=float(row.max())) for row in probabilities]


async def tokenize(
    model: MarianModel | SentimentClassifier, texts: Sequence[str], request: RequestContext
) -> list[list[int]]:
    """The token ids of texts, in order; InvalidInput where one cannot be taken."""
    batch: list[list[int]] = []
    for text in texts:
        if batch:
            # Other requests go on between the texts of a large batch.
            await asyncio.sleep(0)
        started_s = time.perf_counter()
        batch.append(model.tokenize(text))
        request.add("tokenize", time.perf_counter() - started_s)
    request.check_tokens(zip(texts, batch, strict=True), model.max_input_tokens, model.meaningless)
    return batch


def inject_faults(translator: MarianModel, classifier: SentimentClassifier, folder: Path) -> None:
    """Has the sessions of both models look for faults in `folder` before each run."""
    from ..web.fault_injection import Faults

    graphs = translator.graphs
    steps = Faults(folder, "translation", translator.tokenize)
    graphs.encoder.run = steps.before(graphs.encoder.run, packed_texts)
    for graph in filter(None, (graphs.decoder, graphs.greedy)):
        graph.run_with_iobinding = steps.before(graph.run_with_iobinding, lambda binding: [])
    runs = Faults(folder, "sentiment", classifier.tokenize)
    classifier.session.run = runs.before(classifier.session.run, packed_texts)


def packed_texts(names: list[str], packed: dict[str, np.ndarray]) -> list[list[int]]:
    """The token ids of each text that `run` is called on."""
    (lengths,) = (value for name, value in packed.items() if name != "input_ids")
    return [part.tolist() for part in np.split(packed["input_ids"], np.cumsum(lengths)[:-1])]
