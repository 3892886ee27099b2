"""Which layers stay in float32: where INT8 misses a quality bound, ever more of the most sensitive ones."""

import math
from collections.abc import Callable, Mapping

MAX_ATTEMPTS = 6
# How much smaller the divergence of what stays in INT8 gets from one attempt to the next. At most by so much:
# where answers break down, their loss says little of how far they moved.
LEAST_CUT, LARGEST_CUT = 1.25, 4.0
# Of all layers: with more in float32, INT8 is worth less than the float32 graph's exactness.
MAX_SHARE = 0.9


def choose_float32_layers(
    loss_ratio: Callable[[list[str]], float], sensitivities: Callable[[], Mapping[str, float]]
) -> list[str] | None:
    """The layers to keep in float32, the most sensitive first; None where the whole graph must be.

    `loss_ratio` is of a model with such layers: how many times the loss of quality that is allowed it has.
    `sensitivities` are asked for only if INT8 as a whole has more.
    """
    layers: list[str] = []
    ranked: dict[str, float] = {}
    for _ in range(MAX_ATTEMPTS):
        ratio = loss_ratio(layers)
        if ratio <= 1:
            return layers
        if not ranked:
            ranked = dict(sorted(sensitivities().items(), key=lambda item: -item[1]))
        # A loss grows with the error of the logits, and a divergence with its square.
        layers = most_sensitive(ranked, layers, min(max(ratio**2, LEAST_CUT), LARGEST_CUT))
        if len(layers) > MAX_SHARE * len(ranked):
            break
    return None


def most_sensitive(ranked: Mapping[str, float], kept: list[str], cut: float) -> list[str]:
    """`kept`, the first of `ranked`, and as many after them as divide the divergence of the rest by `cut`."""
    names, values = [*ranked], [*ranked.values()]
    finite = sum(value for value in values[len(kept) :] if math.isfinite(value))
    count = len(kept) + 1
    while sum(values[count:]) > finite / cut:
        count += 1
    return names[:count]
