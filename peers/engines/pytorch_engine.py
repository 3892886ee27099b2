"""PyTorch float32: not measured, but the reference that the other engines' tokens are compared with."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from model_export.pretrained import load_folder
from model_export.torch_reference import torch_translate
from peers.engines.dataset import Dataset, Timer


class Engine:
    """Hugging Face's own greedy `generate`."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        self.pretrained = load_folder("translation", models / "translation" / "pytorch", "")
        self.version = f"torch {version('torch')}"

    def translate(self, dataset: Dataset, settings: dict[str, Any], timer: Timer) -> list[list[int]]:
        return torch_translate(
            self.pretrained, dataset.sources, dataset.max_new_tokens, fixed_length=dataset.fixed_length
        )
