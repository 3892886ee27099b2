"""PyTorch float32 on the same texts: never measured, only what the others' tokens are held to."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from model_export.pretrained import load_folder
from model_export.torch_reference import torch_translate
from peers.engines.work import Work


class Engine:
    """Hugging Face's own greedy `generate`."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        self.pretrained = load_folder("translation", models / "translation" / "pytorch", "")
        self.version = f"torch {version('torch')}"

    def prepare(self, work: Work) -> Any:
        """A function that translates `work`, and returns one that gives the tokens in the texts' order."""

        def run() -> Any:
            found = torch_translate(
                self.pretrained, work.sources, work.limits, fixed_length=work.fixed_length
            )
            return lambda: found

        return run
