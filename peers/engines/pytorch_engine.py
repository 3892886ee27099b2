"""PyTorch float32: not measured, but the reference that the other engines' tokens are compared with."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from model_export.pretrained import load_folder
from model_export.torch_reference import torch_translate
from peers.engines.dataset import Batches, Dataset


class Engine:
    """Hugging Face's own greedy `generate`."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        self.pretrained = load_folder("translation", models / "translation" / "pytorch", "")
        self.version = f"torch {version('torch')}"

    def prepare(self, dataset: Dataset, settings: dict[str, Any]) -> tuple[Batches, Any]:
        return [[*range(len(dataset.sources))]], dataset

    def run(self, calls: Dataset) -> list[list[int]]:
        return torch_translate(
            self.pretrained, calls.sources, calls.max_new_tokens, fixed_length=calls.fixed_length
        )

    def token_ids(self, outputs: list[list[int]]) -> list[list[list[int]]]:
        return [outputs]
