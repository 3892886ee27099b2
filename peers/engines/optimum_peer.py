"""Optimum's INT8 export of the same weights, as model_export.compare makes it, with its own `generate`.

Batches are of like length, the longest first, and run to their longest limit; what goes past a text's own
limit is not counted.
"""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from optimum.onnxruntime import ORTModelForSeq2SeqLM
from transformers import GenerationConfig

from dynamic_batching.config import Settings
from dynamic_batching.models import Translator
from dynamic_batching.runtime.onnx_files import find_onnx_files
from model_export.compare import Limits, load_optimum, optimum_preset, optimum_translation
from peers.engines.work import Work


class Engine:
    """One model on one thread."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        self.batch_size: int = settings["batch_size"]
        self.model: Any = load_optimum(ORTModelForSeq2SeqLM, converted)
        config = self.model.config
        self.pad_id: int = config.pad_token_id
        self.model.generation_config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
            decoder_start_token_id=config.decoder_start_token_id,
            suppress_tokens=[config.pad_token_id],
        )
        optimum, onnxruntime = version("optimum"), version("onnxruntime")
        self.version = f"optimum {optimum} ({optimum_preset()}), onnxruntime {onnxruntime}"

    def prepare(self, work: Work) -> Any:
        """A function that translates `work`, and returns one that gives the tokens in the texts' order."""
        calls = work.batches(self.batch_size)
        inputs = [self.padded([work.sources[place] for place in call]) for call in calls]
        limits = [max(work.limits[place] for place in call) for call in calls]

        def run() -> Any:
            outputs = []
            for ids, limit in zip(inputs, limits, strict=True):
                with torch.inference_mode():
                    output = self.model.generate(
                        input_ids=ids,
                        attention_mask=ids.ne(self.pad_id).long(),
                        max_new_tokens=limit,
                        min_new_tokens=limit if work.fixed_length else None,
                    )
                outputs.append(output[:, 1:])
            return lambda: self.answers(work, calls, outputs)

        return run

    def padded(self, sources: list[list[int]]) -> torch.Tensor:
        ids = torch.full((len(sources), max(map(len, sources))), self.pad_id)
        for row, source in enumerate(sources):
            ids[row, : len(source)] = torch.tensor(source)
        return ids

    def answers(self, work: Work, calls: list[list[int]], outputs: list[torch.Tensor]) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for call, output in zip(calls, outputs, strict=True):
            for place, tokens in zip(call, output.tolist(), strict=True):
                found[place] = work.cut(place, tokens)
        return [found[place] for place in range(len(found))]


def convert(models: Path, output: Path) -> None:
    """Writes Optimum's INT8 export into `output`."""
    limits = Limits(Translator(find_onnx_files(models, "translation"), Settings(threads=1)))
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        optimum_translation(models / "translation" / "pytorch", Path(scratch), limits)
        (Path(scratch) / "int8").replace(output)
