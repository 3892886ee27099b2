"""The quality bounds of both tasks: how close to float32 a served model must be, on texts of the load."""

import json
from collections.abc import Sequence

from sacrebleu.metrics import BLEU, CHRF
from scipy.stats import binomtest

from dynamic_batching.models import Translator, decode_batch
from dynamic_batching.runtime.models import SentimentClassifier
from dynamic_batching.web.schemas import Sentiment
from model_export.torch_reference import chooses_greedily, torch_labels
from model_export.verify import Check, Judgement, in_batches, share

MIN_CHRF = 95.0
MIN_LABEL_AGREEMENT = 0.99
CONFIDENCE = 0.95
RESAMPLES = 1_000


class TranslationCheck(Check):
    task = "translation"
    compared = "tokens"

    def run(self, served: Translator, token_ids: Sequence[list[int]]) -> list[list[int]]:
        def decode(batch: list[list[int]]) -> list[list[int]]:
            return decode_batch(served.new_decoder(), [served.sequence(ids) for ids in batch])

        return in_batches(decode, token_ids, "translating")

    def same_as_pytorch(self, float32: Translator, count: int) -> list[bool]:
        fixed = float32.limits["fixed_length"]
        return chooses_greedily(
            self.pretrained, self.token_ids[:count], self.answers[:count], fixed_length=fixed
        )

    def compare(self, served: Translator, answers: Sequence[list[int]]) -> Judgement:
        ours = [served.tokenizer.decode(tokens) for tokens in answers]
        expected = [served.tokenizer.decode(tokens) for tokens in self.answers[: len(answers)]]
        chrf, low, high = chrf_with_interval(ours, expected)
        judgement = Judgement(
            {
                "texts": len(answers),
                "chrf_against_float32": chrf,
                "chrf_against_float32_interval_95": [low, high],
                "identical_to_float32": share(a == b for a, b in zip(ours, expected, strict=True)),
            }
        )
        judgement.require(100 - chrf, 100 - MIN_CHRF, 100 - high)
        return judgement

    def score(self, served: Translator, answers: Sequence[list[int]]) -> float:
        references = [german for _, german in self.labelled]
        return (
            BLEU().corpus_score([served.tokenizer.decode(tokens) for tokens in answers], [references]).score
        )

    def labelled_figures(self, score: float) -> dict[str, float]:
        return {"bleu_float32": self.float32_score, "bleu_served": score}


class SentimentCheck(Check):
    task = "sentiment"
    compared = "labels"

    def run(self, served: SentimentClassifier, token_ids: Sequence[list[int]]) -> list[Sentiment]:
        return in_batches(served.classify, token_ids, "classifying")

    def same_as_pytorch(self, float32: SentimentClassifier, count: int) -> list[bool]:
        labels = torch_labels(self.pretrained, self.token_ids[:count])
        return [answer.label == label for answer, label in zip(self.answers, labels, strict=False)]

    def compare(self, served: SentimentClassifier, answers: Sequence[Sentiment]) -> Judgement:
        pairs = [*zip(answers, self.answers, strict=False)]
        equal = sum(ours.label == theirs.label for ours, theirs in pairs)
        agreement, interval = equal / len(pairs), binomtest(equal, len(pairs)).proportion_ci(CONFIDENCE)
        differences = (
            abs(ours.score - (theirs.score if ours.label == theirs.label else 1 - theirs.score))
            for ours, theirs in pairs
        )
        judgement = Judgement(
            {
                "texts": len(pairs),
                "label_agreement": agreement,
                "label_agreement_interval_95": [float(interval.low), float(interval.high)],
                "score_difference_max": max(differences),
            }
        )
        judgement.require(1 - agreement, 1 - MIN_LABEL_AGREEMENT, 1 - interval.high)
        return judgement

    def score(self, served: SentimentClassifier, answers: Sequence[Sentiment]) -> float:
        return 100 * share(
            answer.label == label for answer, (_, label) in zip(answers, self.labelled, strict=True)
        )

    def labelled_figures(self, score: float) -> dict[str, float]:
        return {"accuracy_float32": self.float32_score, "accuracy_served": score}


def chrf_with_interval(ours: Sequence[str], expected: Sequence[str]) -> tuple[float, float, float]:
    """chrF of a corpus, and the ends of its bootstrap interval over texts."""
    metric = CHRF()
    chrf = metric.corpus_score(ours, [expected], n_bootstrap=RESAMPLES)
    fields = json.loads(chrf.format(width=4, is_json=True, signature=metric.get_signature().format()))
    mean, half = fields.get("confidence_mean", chrf.score), fields.get("confidence_var", 0.0)
    return chrf.score, max(mean - half, 0.0), min(mean + half, 100.0)


CHECKS: dict[str, type[Check]] = {check.task: check for check in (TranslationCheck, SentimentCheck)}
