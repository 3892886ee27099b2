"""Beam search of one text: which beams go on with which tokens, and what they have finished.

Scores and rules are those of Hugging Face's `generate` with do_sample=False, early_stopping=False and
length_penalty=1.0. Models, caches and batches are the caller's.
"""

import math
from collections.abc import Sequence

import numpy as np

# More columns mean fewer tokens that reach the threshold by chance, and a longer search for it.
COLUMNS_PER_TOKEN = 16


class BeamSearch:
    """The running beams, best first, and the best hypotheses that have ended.

    `last_tokens` are what the beams ended in at the last step. All beams begin as one: the first step reads
    the logits of beam 0 alone.
    """

    def __init__(self, num_beams: int, max_new: int, min_new: int, eos_id: int, pad_id: int) -> None:
        self.num_beams = num_beams
        self.finished = False
        self._max_new_tokens, self._min_new_tokens = max_new, min_new
        self._eos_id, self._pad_id = eos_id, pad_id
        self._beams: list[tuple[float, list[int]]] = [(0.0, [])]
        self._hypotheses: list[tuple[float, list[int]]] = []

    @property
    def last_tokens(self) -> list[int]:
        return [tokens[-1] for _, tokens in self._beams]

    @property
    def best(self) -> list[int]:
        """The tokens of the best hypothesis, once `finished`: without the start token, with the end token."""
        return self._hypotheses[0][1]

    def advance(self, logits: Sequence[np.ndarray], scales: Sequence[float]) -> list[int]:
        """Goes on by a token: the beam, before this step, that each beam descends from.

        `logits` holds a float32 row [V] for each beam, to be multiplied by its scale; V is over twice the
        beams. The rows are written over. There are no beams left once the search is `finished`.
        """
        length = len(self._beams[0][1]) + 1
        barred = [self._pad_id] if length > self._min_new_tokens else [self._pad_id, self._eos_id]
        candidates: list[tuple[float, int, int]] = []
        # One end token a beam, so of twice as many candidates enough go on.
        wanted = 2 * self.num_beams
        for beam, (score, _) in enumerate(self._beams):
            tokens, log_probs = most_likely(logits[beam], scales[beam], barred, wanted)
            # Negated, so that equal scores come in the order of beams and tokens.
            candidates += zip((-score - log_probs).tolist(), [beam] * wanted, tokens.tolist(), strict=False)
        candidates = sorted(candidates)[:wanted]
        beams: list[tuple[float, list[int]]] = []
        parents: list[int] = []
        for rank, (cost, parent, token) in enumerate(candidates):
            sequence = [*self._beams[parent][1], token]
            if token != self._eos_id and length < self._max_new_tokens:
                if len(beams) < self.num_beams:
                    beams.append((-cost, sequence))
                    parents.append(parent)
            elif rank < self.num_beams:
                self._hypotheses.append((-cost / length, sequence))
        self._hypotheses.sort(key=lambda hypothesis: -hypothesis[0])
        del self._hypotheses[self.num_beams :]
        self._beams = beams
        full = len(self._hypotheses) == self.num_beams
        self.finished = not beams or (full and beams[0][0] / length <= self._hypotheses[-1][0])
        return parents


def most_likely(
    logits: np.ndarray, scale: float, barred: list[int], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` most likely tokens, best first, and their log-probabilities (float64).

    `logits` float32 [V] times `scale` are the model's. The tokens `barred` count as what could have been
    chosen, but are not; their logits become -inf.
    """
    peak = logits.max()
    weights = logits - peak
    weights *= np.float32(scale)
    np.exp(weights, out=weights)
    log_total = float(peak) * scale + math.log(weights.sum())
    logits[barred] = -np.inf
    # The tokens in a table of many rows: `count` of its columns have a token at or above the threshold, so
    # none of the best is below it, and a sort need not see the others.
    rows = max(1, len(logits) // (COLUMNS_PER_TOKEN * count))
    highest = logits[: len(logits) // rows * rows].reshape(rows, -1).max(axis=0)
    threshold = np.partition(highest, -count)[-count]
    tokens = np.flatnonzero(logits >= threshold)
    tokens = tokens[np.argsort(-logits[tokens], kind="stable")[:count]]
    return tokens, logits[tokens].astype(np.float64) * scale - log_total


def placed(parents: list[int], slots: list[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """The slots of the beams after a step, and the copies (source, target) that this takes.

    Beam i was in `slots[i]`. A beam stays where its parent is, unless a better one does; then it takes the
    slot of a beam that nobody descends from, so no copy writes what another reads.
    """
    left = [slot for beam, slot in enumerate(slots) if beam not in parents]
    found, copies = [], []
    for index, parent in enumerate(parents):
        found.append(left.pop() if parent in parents[:index] else slots[parent])
        if found[-1] != slots[parent]:
            copies.append((slots[parent], found[-1]))
    return found, copies
