"""PyTorch float32: not measured, but the reference that the other engines' labels are compared with."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_export.pretrained import load_folder
from peers.engines.classification import Inputs, classify
from peers.engines.dataset import Dataset, Timer


class Engine:
    """Hugging Face's own model on one thread."""

    dtype = torch.float32

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        self.model: Any = load_folder("sentiment", models / "sentiment" / "pytorch", "").model
        torch.nn.Module.to(self.model, self.dtype)
        self.version = f"torch {version('torch')}"

    def run(self, dataset: Dataset, settings: dict[str, Any], timer: Timer) -> list[list[int]]:
        return classify(dataset, settings["batch_size"], self.logits, timer)

    @torch.inference_mode()
    def logits(self, inputs: Inputs) -> np.ndarray:
        names = "input_ids", "attention_mask"
        return self.model(**{name: torch.from_numpy(inputs[name]) for name in names}).logits.float().numpy()
