"""Holds what the ONNX servers will load against float32 before it is published.

The float32 graph must answer as PyTorch does; what is served must then lose no more than the bounds allow.
What is run is what servers run: their own tokenizers and decoders, on the files about to be published.
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
from model_export.torch_reference import BATCH, groups_of_like_length

TEXTS = 500
# Enough to see that the float32 graph is the model.
PYTORCH_TEXTS = 64
# A model that misses its bound on so many by more than chance is asked for no more.
SCREENING_TEXTS = 100
MAX_LOSS_POINTS = 0.5
# Not all: where two tokens tie to the last bit, a batched float32 GEMM may choose the other one.
MIN_SAME = 0.98


class VerificationFailed(PreparationError):
    """A graph does not answer as its float32 original; the text says by which figure."""


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


@dataclass
class Judgement:
    """Figures of a model, and how many times the loss that the bounds allow it has: more than 1 is too much.

    `is_certain` where it is too much at the better end of the figure's interval, too.
    """

    figures: dict[str, Any]
    loss_ratio: float = 0.0
    is_certain: bool = False

    def require(self, loss: float, allowed: float, least_loss: float) -> None:
        """Takes one more figure into account; `least_loss` is the better end of its interval."""
        if loss > allowed:
            self.loss_ratio = max(self.loss_ratio, loss / allowed if allowed > 0 else math.inf)
            self.is_certain |= least_loss > allowed


class Check(ABC):
    """The texts that models of a task are judged on, and what the float32 graph answers to them.

    `facts` say how that graph compares with PyTorch, which is found out as the check is made.
    """

    task: ClassVar[str]
    compared: ClassVar[str]

    def __init__(
        self, pretrained: Pretrained, float32: Any, data: LabelledData | None = None, *, bounded: bool = True
    ) -> None:
        """Has `float32`, the model of the float32 graph, answer the texts, and those of `data`.

        Unless `bounded` there are only as many as that graph itself needs.
        Raises:
            VerificationFailed: it does not answer as PyTorch does.
        """
        texts = TEXTS if bounded else min(TEXTS, PYTORCH_TEXTS)
        self.pretrained = pretrained
        samples = [sample.text for sample in islice(unique(self.task, part="warmup"), texts)]
        self.token_ids = [float32.tokenize(text) for text in samples]
        original = pretrained.tokenizer
        if self.token_ids != [original(text, split_special_tokens=True).input_ids for text in samples]:
            raise VerificationFailed("the served tokenizer cuts texts differently from the original's")
        self.answers = self.run(float32, self.token_ids)
        count = min(PYTORCH_TEXTS, texts)
        same = share(self.same_as_pytorch(float32, count))
        if same < MIN_SAME:
            raise VerificationFailed(
                f"the float32 graph gives PyTorch's {self.compared} for {same:.1%} of {count} texts "
                f"(at least {MIN_SAME:.0%} is asked)"
            )
        self.facts = {"float32_graph_texts": count, f"float32_graph_same_{self.compared}": same}
        self.labelled = getattr(data, self.task)() if data is not None else []
        self.labelled_ids = [float32.tokenize(text) for text, _ in self.labelled]
        if self.labelled:
            self.float32_score = self.score(float32, self.run(float32, self.labelled_ids))

    def judge(self, served: Any) -> Judgement:
        """How far `served` is from float32, and whether it loses by known answers where there are some.

        Figures are of fewer texts where those leave no doubt that a bound is missed.
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
        """What is known of the float32 graph itself."""
        return self.facts | (self.labelled_figures(self.float32_score) if self.labelled else {})

    @abstractmethod
    def run(self, served: Any, token_ids: Sequence[list[int]]) -> list[Any]:
        """What `served` answers to texts."""

    @abstractmethod
    def same_as_pytorch(self, float32: Any, count: int) -> list[bool]:
        """Of the first `count` texts, whether PyTorch answers as the float32 graph did."""

    @abstractmethod
    def compare(self, served: Any, answers: Sequence[Any]) -> Judgement:
        """The judgement of answers to the first texts."""

    @abstractmethod
    def score(self, served: Any, answers: Sequence[Any]) -> float:
        """BLEU or accuracy in percent of answers to the labelled texts."""

    @abstractmethod
    def labelled_figures(self, score: float) -> dict[str, float]:
        """The score of a model and of float32 on the labelled texts, by name."""


def in_batches(
    run: Callable[[list[list[int]]], list[Any]], token_ids: Sequence[list[int]], label: str
) -> list[Any]:
    """What `run` gives for groups of texts of like length, a group a core, in the texts' order."""
    answers: list[Any] = [None] * len(token_ids)
    groups = [*groups_of_like_length(token_ids, BATCH)]
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
