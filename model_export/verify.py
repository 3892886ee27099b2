"""Holds the INT8 models against PyTorch float32 before they are published, and refuses what falls short.

What is run is what servers run: their own tokenizers and decoder on the files about to be published.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sacrebleu.metrics import BLEU, CHRF
from transformers import GenerationConfig

from dynamic_batching.decoder import SlotDecoder
from dynamic_batching.models import Translator, decode_batch
from dynamic_batching.runtime.graphs import Graphs
from dynamic_batching.runtime.models import SentimentClassifier
from locustfiles.inputs import unique
from model_export.errors import PreparationError
from model_export.pretrained import Pretrained

TEXTS = 500
RANDOM_TEXTS = 16
BATCH = 32
MIN_CHRF = 95.0
MIN_LABEL_AGREEMENT = 0.99
MAX_LOSS_POINTS = 0.5
# Not all: where two tokens tie to the last bit, a batched float32 GEMM may choose the other one.
MIN_SAME_TOKENS = 0.98


class VerificationFailed(PreparationError):
    """The INT8 model falls short of its float32 original; the text says by which figure."""


@dataclass(frozen=True)
class LabelledData:
    """Data with known answers below one folder: SST-2's dev.tsv and Multi30k's test sentences."""

    folder: Path

    def sentiment(self) -> list[tuple[str, str]]:
        """Pairs of a text and its label, POSITIVE or NEGATIVE."""
        lines = self._lines("sst2/dev.tsv")[1:]
        rows = [line.split("\t", 1) for line in lines]
        return [(text.strip(), "POSITIVE" if label == "1" else "NEGATIVE") for label, text in rows]

    def translation(self) -> list[tuple[str, str]]:
        """Pairs of an English sentence and its German reference."""
        english, german = (self._lines(f"multi30k/test_2016_flickr.{side}") for side in ("en", "de"))
        return list(zip(english, german, strict=True))

    def _lines(self, name: str) -> list[str]:
        try:
            return (self.folder / name).read_text().splitlines()
        except OSError as error:
            raise PreparationError(
                f"--eval-data {self.folder}: {name} cannot be read ({error.strerror})"
            ) from None


def torch_translate(
    pretrained: Pretrained, token_ids: Sequence[list[int]], limits: Sequence[int], *, fixed_length: bool
) -> list[list[int]]:
    """Greedy tokens of Hugging Face's `generate` in float32, without the start token and padding.

    Like lengths run together; a text's own limit cuts what its batch went on with.
    """
    model: Any = pretrained.model
    config: Any = model.config
    settings = GenerationConfig(
        do_sample=False,
        num_beams=1,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        suppress_tokens=[config.pad_token_id],
    )
    model.generation_config = settings
    answers: list[list[int]] = [[] for _ in token_ids]
    order = sorted(range(len(token_ids)), key=lambda index: len(token_ids[index]))
    for at in range(0, len(order), BATCH):
        part = order[at : at + BATCH]
        longest = max(len(token_ids[index]) for index in part)
        ids = torch.full((len(part), longest), config.pad_token_id)
        for row, index in enumerate(part):
            ids[row, : len(token_ids[index])] = torch.tensor(token_ids[index])
        limit = max(limits[index] for index in part)
        with torch.inference_mode():
            output = model.generate(
                input_ids=ids,
                attention_mask=ids.ne(config.pad_token_id).long(),
                max_new_tokens=limit,
                min_new_tokens=limit if fixed_length else None,
            )
        for row, index in zip(output[:, 1:].tolist(), part, strict=True):
            answer = row[: limits[index]]
            if not fixed_length and config.eos_token_id in answer:
                answer = answer[: answer.index(config.eos_token_id) + 1]
            answers[index] = answer
    return answers


def verify_translation(
    pretrained: Pretrained, served: Translator, float32_graphs: Graphs, data: LabelledData | None
) -> dict[str, Any]:
    """Figures of the INT8 translator `served` and of the float32 graphs against PyTorch.

    Raises:
        VerificationFailed: chrF against PyTorch's output is under MIN_CHRF, BLEU falls by more than
            MAX_LOSS_POINTS, or the float32 graphs do not give PyTorch's tokens.
    """
    count = TEXTS if pretrained.trained else RANDOM_TEXTS
    texts = [sample.text for sample in islice(unique("translation", part="warmup"), count)]
    token_ids = [served.tokenize(text) for text in texts]
    if token_ids != [pretrained.tokenizer(text, split_special_tokens=True).input_ids for text in texts]:
        raise VerificationFailed("the served tokenizer cuts texts differently from the original's")
    limits = [served.new_tokens(len(ids))[0] for ids in token_ids]
    fixed = served.limits["fixed_length"]
    reference = torch_translate(pretrained, token_ids, limits, fixed_length=fixed)
    decoder = SlotDecoder(float32_graphs, BATCH)
    from_graphs = decode_batch(decoder, [served.sequence(ids) for ids in token_ids])
    same_tokens = share(ours == theirs for ours, theirs in zip(from_graphs, reference, strict=True))
    found: dict[str, Any] = {"texts": count, "float32_graph_same_tokens": same_tokens}
    if same_tokens < MIN_SAME_TOKENS:
        raise VerificationFailed(
            f"the float32 graph gives PyTorch's tokens for {same_tokens:.1%} of {count} texts "
            f"(at least {MIN_SAME_TOKENS:.0%} is asked)"
        )
    if not pretrained.trained:
        return found
    expected = [served.tokenizer.decode(tokens) for tokens in reference]
    ours = [sentence.text for sentence in in_batches(served.translate, token_ids)]
    found["chrf_against_float32"] = CHRF().corpus_score(ours, [expected]).score
    found["identical_to_float32"] = share(a == b for a, b in zip(ours, expected, strict=True))
    if found["chrf_against_float32"] < MIN_CHRF:
        raise VerificationFailed(
            f"chrF of INT8 against float32 is {found['chrf_against_float32']:.1f}, under {MIN_CHRF:g}"
        )
    if data is not None:
        english, german = map(list, zip(*data.translation(), strict=True))
        tokens = [served.tokenize(text) for text in english]
        limits = [served.new_tokens(len(ids))[0] for ids in tokens]
        original = [
            served.tokenizer.decode(ids)
            for ids in torch_translate(pretrained, tokens, limits, fixed_length=False)
        ]
        found["bleu_float32"] = BLEU().corpus_score(original, [german]).score
        translated = [sentence.text for sentence in in_batches(served.translate, tokens)]
        found["bleu_int8"] = BLEU().corpus_score(translated, [german]).score
        check_loss("BLEU", found["bleu_float32"], found["bleu_int8"])
    return found


def verify_sentiment(
    pretrained: Pretrained, served: SentimentClassifier, data: LabelledData | None
) -> dict[str, Any]:
    """Figures of the INT8 classifier `served` against PyTorch.

    Raises:
        VerificationFailed: labels agree on less than MIN_LABEL_AGREEMENT of the texts, or accuracy falls
            by more than MAX_LOSS_POINTS.
    """
    count = TEXTS if pretrained.trained else RANDOM_TEXTS
    texts = [sample.text for sample in islice(unique("sentiment", part="warmup"), count)]
    token_ids = [served.tokenize(text) for text in texts]
    if token_ids != [pretrained.tokenizer(text, split_special_tokens=True).input_ids for text in texts]:
        raise VerificationFailed("the served tokenizer cuts texts differently from the original's")
    reference = torch_probabilities(pretrained, token_ids)
    ours = in_batches(served.classify, token_ids)
    labels: dict[int, str] = pretrained.model.config.id2label or {}
    expected = [labels[int(row.argmax())] for row in reference]
    agreement = share(a.label == b for a, b in zip(ours, expected, strict=True))
    scores = [float(row.max()) for row in reference]
    found: dict[str, Any] = {
        "texts": count,
        "label_agreement": agreement,
        "score_difference_max": max(
            abs(a.score - (score if a.label == label else 1 - score))
            for a, score, label in zip(ours, scores, expected, strict=True)
        ),
    }
    if not pretrained.trained:
        return found
    if agreement < MIN_LABEL_AGREEMENT:
        raise VerificationFailed(
            f"labels of INT8 agree with float32 on {agreement:.1%} of {count} texts, "
            f"under {MIN_LABEL_AGREEMENT:.0%}"
        )
    if data is not None:
        known_texts, known = map(list, zip(*data.sentiment(), strict=True))
        tokens = [served.tokenize(text) for text in known_texts]
        original = [labels[int(row.argmax())] for row in torch_probabilities(pretrained, tokens)]
        found["accuracy_float32"] = 100 * share(a == b for a, b in zip(original, known, strict=True))
        found["accuracy_int8"] = 100 * share(
            a.label == b for a, b in zip(in_batches(served.classify, tokens), known, strict=True)
        )
        check_loss("accuracy", found["accuracy_float32"], found["accuracy_int8"])
    return found


def torch_probabilities(pretrained: Pretrained, token_ids: Sequence[list[int]]) -> np.ndarray:
    """Softmax probabilities [N, 2] of the float32 model, text by text."""
    rows = []
    with torch.inference_mode():
        for ids in token_ids:
            input_ids = torch.tensor([ids])
            logits = pretrained.model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).logits
            rows.append(logits[0].softmax(-1).numpy())
    return np.array(rows)


def in_batches(run: Callable[[list[list[int]]], list[Any]], token_ids: Sequence[list[int]]) -> list[Any]:
    """What `run` gives for groups of texts of like length, in the texts' order."""
    answers: list[Any] = [None] * len(token_ids)
    order = sorted(range(len(token_ids)), key=lambda index: len(token_ids[index]))
    for at in range(0, len(order), BATCH):
        part = order[at : at + BATCH]
        found = run([token_ids[index] for index in part])
        for index, answer in zip(part, found, strict=True):
            answers[index] = answer
    return answers


def share(outcomes: Any) -> float:
    values = list(outcomes)
    return sum(values) / len(values)


def check_loss(name: str, float32: float, int8: float) -> None:
    if float32 - int8 > MAX_LOSS_POINTS:
        raise VerificationFailed(
            f"{name} falls from {float32:.2f} to {int8:.2f}, by more than {MAX_LOSS_POINTS:g} points"
        )
