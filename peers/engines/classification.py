"""Sentiment in padded batches of texts of like length; an answer is one token, the index of its class."""

from collections.abc import Callable

import numpy as np

from peers.engines.dataset import Dataset, Timer

Inputs = dict[str, np.ndarray]


def classify(
    dataset: Dataset, batch_size: int, logits_of: Callable[[Inputs], np.ndarray], timer: Timer
) -> list[list[int]]:
    """The answers in the order of the texts; `logits_of` runs the model on one batch."""
    batches = dataset.batches(batch_size)
    inputs = [padded([dataset.sources[index] for index in batch]) for batch in batches]
    with timer:
        logits = [logits_of(batch) for batch in inputs]
    return dataset.answers(batches, [one.argmax(axis=1)[:, np.newaxis].tolist() for one in logits])


def padded(token_ids: list[list[int]]) -> Inputs:
    """A batch as BERT takes it; DistilBERT has no `token_type_ids`."""
    lengths = np.array([len(ids) for ids in token_ids])
    mask = np.arange(lengths.max()) < lengths[:, np.newaxis]
    input_ids = np.zeros(mask.shape, np.int64)
    input_ids[mask] = np.concatenate(token_ids)
    return {
        "input_ids": input_ids,
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": np.zeros_like(input_ids),
    }
