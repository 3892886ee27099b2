"""Answers of PyTorch in float32, the reference for every other form of a model."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from model_export.pretrained import Pretrained
from model_export.progress import track

BATCH = 32
# Smaller where all logits are kept: 4 bytes for each token and entry of the vocabulary.
LOGITS_BATCH = 8


def greedy_generation(config: Any) -> GenerationConfig:
    """Greedy decoding for a Marian `config`, as the servers do it: the padding token is never an answer."""
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        suppress_tokens=[config.pad_token_id],
    )


def torch_translate(
    pretrained: Pretrained, token_ids: Sequence[list[int]], limits: Sequence[int], *, fixed_length: bool
) -> list[list[int]]:
    """Greedy tokens of Hugging Face's `generate` in float32, without the start token and padding.

    Texts of similar length are batched; each answer is cut at the limit of its own text.
    """
    model: Any = pretrained.model
    config: Any = model.config
    model.generation_config = greedy_generation(config)
    answers: list[list[int]] = [[] for _ in token_ids]
    for part in groups_by_length(token_ids, BATCH):
        ids = padded([token_ids[index] for index in part], config.pad_token_id)
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


@torch.inference_mode()
def chooses_greedily(
    pretrained: Pretrained,
    token_ids: Sequence[list[int]],
    answers: Sequence[list[int]],
    *,
    fixed_length: bool,
) -> list[bool]:
    """For each answer, whether PyTorch's best next token is always the answer's, given the tokens before it.

    That is what greedy decoding gives; one pass over all tokens takes a fraction of its time.
    """
    config: Any = pretrained.model.config
    excluded = [config.pad_token_id, *([config.eos_token_id] if fixed_length else [])]
    greedy = [False] * len(token_ids)
    groups = [*groups_by_length(token_ids, LOGITS_BATCH)]
    for part in track(groups, "comparing with PyTorch"):
        chosen = [answers[index] for index in part]
        logits = decoder_logits(pretrained, [token_ids[index] for index in part], chosen)
        logits[..., excluded] = -torch.inf
        best = logits.argmax(-1).tolist()
        for index, row, answer in zip(part, best, chosen, strict=True):
            greedy[index] = row[: len(answer)] == answer
    return greedy


@torch.inference_mode()
def decoder_logits(
    pretrained: Pretrained, token_ids: Sequence[list[int]], answers: Sequence[list[int]], **encoded: Any
) -> torch.Tensor:
    """Logits [B,T,V] of each token of `answers`, given the source and the tokens before it.

    `encoded` may hold the `encoder_outputs` of the same sources.
    """
    model: Any = pretrained.model
    return model(**teacher_forced(model.config, token_ids, answers), **encoded).logits


@torch.inference_mode()
def decoder_states(
    pretrained: Pretrained, token_ids: Sequence[list[int]], answers: Sequence[list[int]]
) -> torch.Tensor:
    """Last hidden states [n,d] of the decoder, one for each token of all `answers`, given those before it."""
    model: Any = pretrained.model
    states = []
    for part in track([*groups_by_length(token_ids, BATCH)], "reading hidden states"):
        chosen = [answers[index] for index in part]
        inputs = teacher_forced(model.config, [token_ids[index] for index in part], chosen)
        hidden = model.model(**inputs).last_hidden_state
        states += [row[: len(answer)] for row, answer in zip(hidden, chosen, strict=True)]
    return torch.cat(states)


def teacher_forced(
    config: Any, token_ids: Sequence[list[int]], answers: Sequence[list[int]]
) -> dict[str, Any]:
    """A Marian model's inputs for each token of `answers`, given the source and the tokens before it."""
    pad, start = config.pad_token_id, config.decoder_start_token_id
    return {
        "input_ids": padded(token_ids, pad),
        # Masked by length, since a text may contain the padding's id.
        "attention_mask": lengths_mask(token_ids),
        "decoder_input_ids": padded([[start, *answer[:-1]] for answer in answers], pad),
        "use_cache": False,
    }


@torch.inference_mode()
def class_logits(pretrained: Pretrained, token_ids: Sequence[list[int]]) -> torch.Tensor:
    """Logits [B,2] of a classifier for each text."""
    return pretrained.model(
        input_ids=padded(token_ids, pretrained.model.config.pad_token_id or 0),
        attention_mask=lengths_mask(token_ids),
    ).logits


def torch_labels(pretrained: Pretrained, token_ids: Sequence[list[int]]) -> list[str]:
    """A classifier's label for each text."""
    labels: dict[int, str] = pretrained.model.config.id2label or {}
    answers = [""] * len(token_ids)
    for part in groups_by_length(token_ids, BATCH):
        best = class_logits(pretrained, [token_ids[index] for index in part]).argmax(-1).tolist()
        for index, label in zip(part, best, strict=True):
            answers[index] = labels[label]
    return answers


def groups_by_length(token_ids: Sequence[list[int]], size: int) -> Iterator[list[int]]:
    """The indices of texts in groups of up to `size`, the longest texts first."""
    order = sorted(range(len(token_ids)), key=lambda index: -len(token_ids[index]))
    for at in range(0, len(order), size):
        yield order[at : at + size]


def padded(rows: Sequence[list[int]], pad: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])


def lengths_mask(rows: Sequence[list[int]]) -> torch.Tensor:
    """1 where a row has a token, 0 in its padding."""
    return padded([[1] * len(row) for row in rows], 0)
