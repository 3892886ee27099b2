"""The engines that the peers' servers run: each answers a batch of texts, on one thread.

An answer is the JSON object of the HTTP contract. An engine's module is imported where it is made, so that a
server loads no other.
"""

import json
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from dynamic_batching.config import Settings
from dynamic_batching.runtime.onnx_files import find_onnx_files
from dynamic_batching.runtime.tokenization import BertTokenizer, MarianTokenizer
from peers.engines.classification import padded
from peers.lengths import Lengths
from peers.servers.settings import PeerSettings

Answer = dict[str, Any]


class Engine(Protocol):
    """A loaded model."""

    def __call__(self, texts: list[str]) -> list[Answer]:
        """The answers to a batch, in order."""


def load_engine(settings: PeerSettings) -> Engine:
    """The engine of these settings, loaded and warm."""
    engine: Engine = ENGINES[settings.engine](settings)
    engine(["A first text."])
    return engine


def lengths_of(settings: PeerSettings) -> Lengths:
    return Lengths(find_onnx_files(settings.models, "translation").facts)


class OnnxRuntimeSentiment:
    """Optimum's INT8 export in a plain ONNX Runtime session: padded batches.

    A batch is sorted into groups of like length, as padding is computed like any other token.
    """

    def __init__(self, settings: PeerSettings) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = settings.weights / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = {one.name for one in self.session.get_inputs()}
        folder = settings.models / "sentiment" / "onnx"
        self.tokenizer = BertTokenizer(folder)
        self.labels = json.loads((folder / "config.json").read_text())["id2label"]
        self.group_size = settings.group_size

    def __call__(self, texts: list[str]) -> list[Answer]:
        batch = [self.tokenizer.encode(text) for text in texts]
        order = sorted(range(len(batch)), key=lambda index: len(batch[index]))
        answers: list[Answer] = [{}] * len(batch)
        for start in range(0, len(order), self.group_size):
            group = order[start : start + self.group_size]
            for index, probabilities in zip(
                group, self.probabilities([batch[i] for i in group]), strict=True
            ):
                label = probabilities.argmax()
                answers[index] = {"label": self.labels[str(label)], "score": float(probabilities[label])}
        return answers

    def probabilities(self, group: list[list[int]]) -> np.ndarray:
        """float32 [texts, labels] from the token ids of the texts."""
        feed = padded(group)
        (logits,) = self.session.run(["logits"], {name: feed[name] for name in self.inputs})
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)


class OurSentiment:
    """The packed INT8 graph of optimized and dynamic_batching, with their kernels."""

    def __init__(self, settings: PeerSettings) -> None:
        from dynamic_batching.runtime.models import SentimentClassifier

        files = find_onnx_files(settings.models, "sentiment")
        self.classifier = SentimentClassifier(files, Settings().max_input_tokens)

    def __call__(self, texts: list[str]) -> list[Answer]:
        batch = [self.classifier.tokenize(text) for text in texts]
        return [answer.model_dump() for answer in self.classifier.classify(batch)]


class CTranslate2Translation:
    """CTranslate2 INT8, greedy; each text ends at its own maximum length."""

    def __init__(self, settings: PeerSettings) -> None:
        import ctranslate2

        self.translator = ctranslate2.Translator(
            str(settings.weights), device="cpu", compute_type="int8", inter_threads=1, intra_threads=1
        )
        folder = settings.models / "translation" / "onnx"
        self.tokenizer, self.lengths = MarianTokenizer(folder), lengths_of(settings)
        self.ids: dict[str, int] = json.loads((folder / "vocab.json").read_text())
        self.pieces = {index: piece for piece, index in self.ids.items()}
        self.max_batch_size = settings.max_batch_size

    def __call__(self, texts: list[str]) -> list[Answer]:
        batch = [self.tokenizer.encode(text) for text in texts]
        limits = [self.lengths.max_new_tokens(len(token_ids)) for token_ids in batch]
        results = self.translator.translate_batch(
            [[self.pieces[token] for token in token_ids] for token_ids in batch],
            beam_size=1,
            max_batch_size=self.max_batch_size,
            max_decoding_length=max(limits),
            min_decoding_length=max(limits) if self.lengths.fixed else 1,
            callback=lambda result: result.step + 1 >= limits[result.batch_id],
        )
        outputs = [[self.ids[piece] for piece in one.hypotheses[0]] for one in results]
        return [
            {"translation": self.tokenizer.decode(token_ids[:limit])}
            for token_ids, limit in zip(outputs, limits, strict=True)
        ]


class OptimumTranslation:
    """Optimum's INT8 export with Hugging Face's `generate`, greedy."""

    def __init__(self, settings: PeerSettings) -> None:
        import torch
        from optimum.onnxruntime import ORTModelForSeq2SeqLM

        from model_export.compare import load_optimum
        from model_export.torch_reference import greedy_generation

        torch.set_num_threads(1)
        self.model: Any = load_optimum(ORTModelForSeq2SeqLM, settings.weights)
        self.model.generation_config = greedy_generation(self.model.config)
        self.tokenizer = MarianTokenizer(settings.models / "translation" / "onnx")
        self.lengths = lengths_of(settings)

    def __call__(self, texts: list[str]) -> list[Answer]:
        import torch

        from model_export import torch_reference

        pad_id = self.model.config.pad_token_id
        batch = [self.tokenizer.encode(text) for text in texts]
        ids = torch_reference.padded(batch, pad_id)
        limits = [self.lengths.max_new_tokens(len(token_ids)) for token_ids in batch]
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=ids,
                attention_mask=ids.ne(pad_id).long(),
                max_new_tokens=max(limits),
                min_new_tokens=max(limits) if self.lengths.fixed else None,
            )
        return [
            {"translation": self.tokenizer.decode(token_ids[:limit])}
            for token_ids, limit in zip(output[:, 1:].tolist(), limits, strict=True)
        ]


ENGINES: dict[str, Callable[[PeerSettings], Engine]] = {
    "onnxruntime": OnnxRuntimeSentiment,
    "ours": OurSentiment,
    "ctranslate2": CTranslate2Translation,
    "optimum": OptimumTranslation,
}
