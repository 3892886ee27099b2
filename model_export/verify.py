"""Verifies the files that the ONNX servers will load against float32, before they are published.

The float32 graph must answer as PyTorch does; the INT8 model may then lose no more than the bounds allow.
Both run as in the servers, with their tokenizers and decoders, on the files about to be published.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from dynamic_batching.config import Settings
from locustfiles.inputs import unique
from model_export.errors import PreparationError
from model_export.pretrained import Pretrained
from model_export.progress import track
from model_export.torch_reference import BATCH, groups_by_length

TEXTS = 500
# Enough to show that the float32 graph computes the same model.
PYTORCH_TEXTS = 64
# A model that misses its bound significantly on this many texts is not run on the rest.
SCREENING_TEXTS = 100
MAX_LOSS_POINTS = 0.5
# Below 1: where two tokens tie to the last bit, a batched float32 GEMM may choose the other one.
MIN_SAME = 0.98


class VerificationFailed(PreparationError):
    """A graph does not answer as its float32 original; the text has the figure."""


@dataclass(frozen=True)
class LabelledData:
    """Labelled data in one folder: SST-2's dev.tsv and Multi30k's test sentences."""

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


@dataclass
class Judgement:
    """Figures of a model, and its loss divided by the allowed loss: more than 1 is too much.

    `is_certain` where that holds at the better end of the figure's interval too.
    """

    figures: dict[str, Any]
    loss_ratio: float = 0.0
    is_certain: bool = False

    def require(self, loss: float, allowed: float, least_loss: float) -> None:
        """Adds one bound; `least_loss` is the better end of the figure's interval."""
        if loss > allowed:
            self.loss_ratio = max(self.loss_ratio, loss / allowed if allowed > 0 else math.inf)
            self.is_certain |= least_loss > allowed


class Check(ABC):
    """The texts that models of a task are checked on, and the float32 graph's answers to them.

    `facts` compare that graph with PyTorch.
    """

    task: ClassVar[str]
    compared: ClassVar[str]

    def __init__(
        self, pretrained: Pretrained, float32: Any, data: LabelledData | None = None, *, bounded: bool = True
    ) -> None:
        """Runs `float32`, the model of the float32 graph, on the texts, and on those of `data`.

        Without bounds there are only as many texts as the comparison with PyTorch needs.
        Raises:
            VerificationFailed: it does not answer as PyTorch does.
        """
        texts = TEXTS if bounded else min(TEXTS, PYTORCH_TEXTS)
        self.pretrained = pretrained
        samples = [sample.text for sample in islice(unique(self.task, part="warmup"), texts)]
        self.token_ids = [float32.tokenize(text) for text in samples]
        original = pretrained.tokenizer
        if self.token_ids != [original(text, split_special_tokens=True).input_ids for text in samples]:
            raise VerificationFailed("the served tokenizer gives other token ids than the original")
        self.answers = self.run(float32, self.token_ids)
        count = min(PYTORCH_TEXTS, texts)
        same = share(self.same_as_pytorch(float32, count))
        if same < MIN_SAME:
            raise VerificationFailed(
                f"the float32 graph gives PyTorch's {self.compared} for {same:.1%} of {count} texts "
                f"(at least {MIN_SAME:.0%} required)"
            )
        self.facts = {"float32_graph_texts": count, f"float32_graph_same_{self.compared}": same}
        self.labelled = getattr(data, self.task)() if data is not None else []
        self.labelled_ids = [float32.tokenize(text) for text, _ in self.labelled]
        if self.labelled:
            self.float32_score = self.score(float32, self.run(float32, self.labelled_ids))

    def judge(self, served: Any) -> Judgement:
        """Compares `served` with float32, and both with the labels where there are any.

        Figures are of fewer texts where those already show that a bound is missed.
        """
        answers: list[Any] = []
        for count in (SCREENING_TEXTS, len(self.token_ids)):
            answers += self.run(served, self.token_ids[len(answers) : count])
            judgement = self.compare(served, answers)
            if judgement.is_certain:
                return judgement
        if self.labelled and judgement.loss_ratio <= 1:
            score = self.score(served, self.run(served, self.labelled_ids))
            judgement.figures |= self.labelled_figures(score)
            judgement.require(self.float32_score - score, MAX_LOSS_POINTS, self.float32_score - score)
        return judgement

    @property
    def float32_figures(self) -> dict[str, Any]:
        """The figures of the float32 graph itself."""
        return self.facts | (self.labelled_figures(self.float32_score) if self.labelled else {})

    @abstractmethod
    def run(self, served: Any, token_ids: Sequence[list[int]]) -> list[Any]:
        """Answers of `served` to texts."""

    @abstractmethod
    def same_as_pytorch(self, float32: Any, count: int) -> list[bool]:
        """For each of the first `count` texts, whether PyTorch answers as the float32 graph did."""

    @abstractmethod
    def compare(self, served: Any, answers: Sequence[Any]) -> Judgement:
        """The judgement of `answers`, which are to the first texts."""

    @abstractmethod
    def score(self, served: Any, answers: Sequence[Any]) -> float:
        """BLEU or accuracy in percent of answers to the labelled texts."""

    @abstractmethod
    def labelled_figures(self, score: float) -> dict[str, float]:
        """The score of a model and of float32 on the labelled texts, by name."""


def in_batches(
    run: Callable[[list[list[int]]], list[Any]], token_ids: Sequence[list[int]], label: str
) -> list[Any]:
    """The results of `run` in the order of the texts, run on groups of similar length, one group per core."""
    answers: list[Any] = [None] * len(token_ids)
    groups = [*groups_by_length(token_ids, BATCH)]
    with ThreadPoolExecutor(Settings().threads) as pool:
        futures = [pool.submit(run, [token_ids[index] for index in part]) for part in groups]
        try:
            for part, future in track([*zip(groups, futures, strict=True)], label):
                for index, answer in zip(part, future.result(), strict=True):
                    answers[index] = answer
        finally:
            pool.shutdown(cancel_futures=True)
    return answers


def share(outcomes: Iterable[bool]) -> float:
    values = [*outcomes]
    return sum(values) / len(values)
