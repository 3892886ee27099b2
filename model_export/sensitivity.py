"""The sensitivity of each layer to INT8: how far a model's outputs diverge when it alone is quantized.

It is measured in PyTorch, where a layer's weights and inputs are rounded to INT8 codes and back.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from model_export.graph_builder import EMBEDDING
from model_export.pretrained import Pretrained
from model_export.progress import track
from model_export.torch_reference import class_logits, decoder_logits, lengths_mask, padded

TEXTS = 8
# Of each translation: a change in later tokens shows in these too.
TOKENS = 16
CODES = 127

Int8Rows = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def layer_sensitivities(
    pretrained: Pretrained,
    layers: Sequence[str],
    int8_rows: Int8Rows,
    token_ids: Sequence[list[int]],
    answers: Sequence[list[int]] | None,
) -> dict[str, float]:
    """For each layer, the mean Kullback-Leibler divergence of the model's probabilities when it is in INT8.

    Probabilities are those of each next token of the translations in `answers`, or of each text's classes
    where `answers` is None. `layers` are those of the graphs; `int8_rows` gives codes and scales of weights
    [N,K]. The divergence of outputs that are NaN is infinite.
    """
    token_ids = token_ids[:TEXTS]
    if answers is None:
        logits = _class_logits(pretrained, token_ids)
    else:
        logits = _token_logits(pretrained, token_ids, [answer[:TOKENS] for answer in answers[:TEXTS]])
    reference = logits("").log_softmax(-1)
    divergences = {}
    for layer in track(layers, "quantizing each layer alone"):
        with in_int8(pretrained.model, layer, int8_rows):
            quantized = logits(layer).log_softmax(-1)
        divergence = float((reference.exp() * (reference - quantized)).sum(-1).mean())
        # Rounding may make a divergence of zero negative.
        divergences[layer] = max(divergence, 0.0) if np.isfinite(divergence) else np.inf
    return divergences


def _class_logits(pretrained: Pretrained, token_ids: Sequence[list[int]]) -> Callable[[str], torch.Tensor]:
    return lambda layer: class_logits(pretrained, token_ids)


def _token_logits(
    pretrained: Pretrained, token_ids: Sequence[list[int]], answers: Sequence[list[int]]
) -> Callable[[str], torch.Tensor]:
    """Logits of all tokens of `answers` with a layer in INT8; decoder layers reuse the encoder's output."""
    model: Any = pretrained.model
    positions = [(row, column) for row, answer in enumerate(answers) for column in range(len(answer))]
    rows, columns = map(list, zip(*positions, strict=True))
    with torch.inference_mode():
        encoded = model.get_encoder()(
            input_ids=padded(token_ids, model.config.pad_token_id), attention_mask=lengths_mask(token_ids)
        )

    def logits(layer: str) -> torch.Tensor:
        reused = {"encoder_outputs": encoded} if layer.startswith("model.decoder.") else {}
        return decoder_logits(pretrained, token_ids, answers, **reused)[rows, columns]

    return logits


@contextmanager
def in_int8(model: nn.Module, layer: str, int8_rows: Int8Rows) -> Iterator[None]:
    """Quantizes one layer of the graphs, which is one or more of the model's, inside the block."""
    pretrained: Any = model
    modules = dict(model.named_modules())
    if layer == EMBEDDING:
        weights = [pretrained.get_input_embeddings().weight]
        linear = [module for module in [pretrained.get_output_embeddings()] if module is not None]
    else:
        linear = [modules[name] for name in layer.split("+")]
        weights = [module.weight for module in linear]
    before = [weight.data for weight in weights]
    hooks = [module.register_forward_pre_hook(lambda _, inputs: (in_codes(inputs[0]),)) for module in linear]
    for weight in weights:
        codes, scale = int8_rows(weight.data.numpy())
        weight.data = torch.from_numpy(codes * scale[:, None])
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for weight, data in zip(weights, before, strict=True):
            weight.data = data


def in_codes(x: torch.Tensor) -> torch.Tensor:
    """Activations rounded to the INT8 codes of their row."""
    scale = x.abs().amax(-1, keepdim=True) / CODES
    return torch.where(scale > 0, (x / scale).round() * scale, 0)
