"""Which dimensions of the output projection are multiplied for every token, so that few need the others.

In coordinates in which the decoder's last hidden states are largest in the first dimensions, what the others
can add to a token's logit is small: by Cauchy and Schwarz the product of two norms at most. A token whose
logit cannot reach that of the best one before it needs no more. kernels/argmax.h does that exactly, in any
coordinates.
Related: FEXIPRO (SIGMOD 2017), exact search by inner product with SVD and integer bounds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from model_export.graph_rewriter import int8_rows

# Shares of the dimensions in the first block. A smaller one leaves too many tokens on text of other kinds.
FIRST_SHARES = (3 / 8, 1 / 2)
# Of dimensions: what a weight's panel, and a step of the kernels' loops, can hold in whole.
FIRST_MULTIPLE = 32
# Text of other kinds than that of the choice left up to five times as many tokens to finish.
OTHER_TEXT = 5.0
# A token is finished alone, which takes as long as all products of so many tokens.
FINISHING_COST = 15.0
# Of the full product: the rotation and the bounds take a part of what is saved.
MAX_COST = 0.75
STATES = 2_048
ROWS = 64
# A little over 1: what rounding may take from a norm.
OVER = 1 + 1e-6


@dataclass(frozen=True)
class Screening:
    """New coordinates of states, x times `directions` float32 [d,d]; the first `first` are one block.

    The directions need not be orthogonal, such as once they are quantized.
    """

    directions: np.ndarray
    first: int

    def states(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The two blocks [n,first], [n,d-first] of states [n,d]."""
        return self._split(states @ self.directions)

    def tokens(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The two blocks [V,first], [V,d-first] of an output projection [V,d]: it has the same products."""
        turned = np.linalg.solve(self.directions.astype(np.float64), table.T.astype(np.float64)).T
        return self._split(turned.astype(np.float32))

    def _split(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return vectors[:, : self.first], vectors[:, self.first :]


def norms(codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """float32 [N]: at least the norms of int8 `codes` [N,K] times their `scale` [N]."""
    squares = np.square(codes.astype(np.int64)).sum(axis=1)
    return (scale.astype(np.float64) * np.sqrt(squares) * OVER).astype(np.float32)


def choose_screening(
    seen: np.ndarray, unseen: np.ndarray, table: np.ndarray, bias: np.ndarray
) -> tuple[Screening | None, dict[str, Any]]:
    """The screening with the least cost for states float32 [n,d] of greedy decoding, and its figures.

    None where it would not pay. `table` float32 [V,d] and `bias` [V] are those of the output projection. The
    coordinates are of the `seen` states, the figures of the `unseen` ones, which must be of other texts: the
    states of one text are alike.
    """
    axes = directions(sample(seen))
    unseen = sample(unseen)
    width = table.shape[1]
    best: Screening | None = None
    figures: dict[str, Any] = {}
    for part in FIRST_SHARES:
        first = round(part * width / FIRST_MULTIPLE) * FIRST_MULTIPLE
        if not 0 < first < width:
            continue
        screening = Screening(axes, first)
        share = finished_share(screening, unseen, table, bias)
        cost = first / width + OTHER_TEXT * FINISHING_COST * share
        if cost < figures.get("cost", MAX_COST):
            best = screening
            figures = {"first_dimensions": first, "dimensions": width, "finished_share": share, "cost": cost}
    return best, figures


def sample(states: np.ndarray) -> np.ndarray:
    """STATES of them at most, at random."""
    order = np.random.default_rng(0).permutation(len(states))[:STATES]
    return states[order].astype(np.float32)


def directions(states: np.ndarray) -> np.ndarray:
    """The orthogonal directions float32 [d,d] of states [n,d], those of the largest moments first."""
    wide = states.astype(np.float64)
    _, vectors = np.linalg.eigh(wide.T @ wide)
    return np.ascontiguousarray(vectors[:, ::-1], np.float32)


def finished_share(screening: Screening, states: np.ndarray, table: np.ndarray, bias: np.ndarray) -> float:
    """The mean share of the tokens whose second block is needed to choose a state's best one.

    A token is finished where it may be better than the best one before it (kernels/argmax.h).
    """
    (first, first_scale), (rest, rest_scale) = map(int8_rows, screening.tokens(table))
    rest_norms = norms(rest, rest_scale)
    wide_first = first.astype(np.float32) * first_scale[:, None]
    wide_rest = rest.astype(np.float32) * rest_scale[:, None]
    finished = 0
    for at in range(0, len(states), ROWS):
        x_first, x_rest = map(quantized, screening.states(states[at : at + ROWS]))
        logits = x_first @ wide_first.T + bias
        most = logits + np.linalg.norm(x_rest, axis=1)[:, None] * rest_norms
        best = np.maximum.accumulate(logits + x_rest @ wide_rest.T, axis=1)
        finished += len(most) + int((most[:, 1:] >= best[:, :-1]).sum())
    return finished / (len(states) * len(table))


def quantized(rows: np.ndarray) -> np.ndarray:
    """float32 rows [n,K] as the kernels read them: rounded to 255 steps of a row's own scale."""
    scale = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / 127, np.float32(1e-30))
    return np.rint(rows / scale) * scale
