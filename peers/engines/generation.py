"""Translation by Hugging Face's greedy `generate`, for the engines that have it.

A batch holds texts of like length and runs to the longest maximum among them; tokens past a text's own
maximum are not counted.
"""

from typing import Any

import torch

from model_export.torch_reference import padded
from peers.engines.dataset import Dataset, Timer


def generate(model: Any, dataset: Dataset, batch_size: int, timer: Timer) -> list[list[int]]:
    """The answers in the order of the texts."""
    pad_id = model.config.pad_token_id
    batches = dataset.batches(batch_size)
    calls = []
    for batch in batches:
        ids = padded([dataset.sources[index] for index in batch], pad_id)
        limit = max(dataset.max_new_tokens[index] for index in batch)
        lengths = {"max_new_tokens": limit, "min_new_tokens": limit if dataset.fixed_length else None}
        calls.append({"input_ids": ids, "attention_mask": ids.ne(pad_id).long(), **lengths})
    with timer, torch.inference_mode():
        outputs = [model.generate(**call) for call in calls]
    return dataset.answers(batches, [output[:, 1:].tolist() for output in outputs])
