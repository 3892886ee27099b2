"""PyTorch float32: not measured, but the reference that the other engines' tokens are compared with."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from model_export.pretrained import load_folder
from model_export.torch_reference import greedy_generation
from peers.engines.dataset import Dataset, Timer
from peers.engines.generation import generate


class Engine:
    """Hugging Face's own model on one thread."""

    dtype = torch.float32

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        self.model: Any = load_folder("translation", models / "translation" / "pytorch", "").model
        torch.nn.Module.to(self.model, self.dtype)
        self.model.generation_config = greedy_generation(self.model.config)
        self.version = f"torch {version('torch')}"

    def run(self, dataset: Dataset, settings: dict[str, Any], timer: Timer) -> list[list[int]]:
        return generate(self.model, dataset, settings["batch_size"], timer)
