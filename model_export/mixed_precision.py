"""Chooses the layers that stay in float32 where INT8 misses a quality bound: the most sensitive ones."""

import math
from collections.abc import Callable, Mapping

MAX_ATTEMPTS = 6
# Bounds of the factor by which one attempt reduces the divergence of the layers in INT8. The upper one is
# needed because the loss of answers that break down no longer measures their divergence.
LEAST_CUT, LARGEST_CUT = 1.25, 4.0
# The largest share of layers in float32: beyond it INT8 gains too little, and the float32 graph is served.
MAX_SHARE = 0.9


def choose_float32_layers(
    loss_ratio: Callable[[list[str]], float], sensitivities: Callable[[], Mapping[str, float]]
) -> list[str] | None:
    """The layers to keep in float32, the most sensitive first; None where the graph must stay float32.

    `loss_ratio` is the quality loss of a model with these float32 layers, divided by the allowed loss.
    `sensitivities` is only called where INT8 as a whole exceeds it.
    """
    layers: list[str] = []
    ranked: dict[str, float] = {}
    for _ in range(MAX_ATTEMPTS):
        ratio = loss_ratio(layers)
        if ratio <= 1:
            return layers
        if not ranked:
            ranked = dict(sorted(sensitivities().items(), key=lambda item: -item[1]))
        # The loss grows with the error of the logits, the divergence with its square.
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
