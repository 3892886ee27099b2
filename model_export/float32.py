"""The same graphs without quantization, laid out as the servers load them: what INT8 alone is worth.

`<models>-float32/` holds `<task>/onnx` of both tasks, made from the PyTorch artefacts of `<models>/`.
"""

import shutil
from pathlib import Path
from typing import Any

from dynamic_batching.config import Settings
from dynamic_batching.models import Translator
from dynamic_batching.runtime.models import SentimentClassifier
from dynamic_batching.web.model_files import ModelFiles
from model_export.manifest import TASKS, Manifest, contents_sha256, entries_of, float32_folder
from model_export.onnx_export import TOKENIZER_FILES, Say, build
from model_export.pretrained import load_folder
from model_export.row_quantize import save_graphs
from model_export.verify import verify_sentiment, verify_translation

SHARED_FACTS = ("task", "architecture", "origin", "trained", "parameters", "generation")


def prepare_float32(models: Manifest, say: Say) -> Manifest:
    """Leaves both tasks' float32 graphs whole in the folder beside `models`; keeps what is whole.

    Raises:
        VerificationFailed: a graph does not give PyTorch's answers; finished artefacts stay.
    """
    manifest = Manifest(float32_folder(models.folder))
    if manifest.source != models.source:
        manifest.restart(str(models.source))
    for task in TASKS:
        original = models.artefacts[f"{task}/pytorch"]
        digest = contents_sha256(original)
        name = f"{task}/onnx"
        if manifest.is_whole(name) and manifest.artefacts[name]["made_from_sha256"] == digest:
            say(f"{manifest.folder}/{name}: whole, kept")
            continue
        say(f"{manifest.folder}/{name}: building the float32 graphs")
        write_float32(manifest, task, models.folder / task / "pytorch", original)
    return manifest


def write_float32(manifest: Manifest, task: str, source: Path, original: dict[str, Any]) -> None:
    """Publishes `<task>/onnx` from the PyTorch artefact in `source`, which `original` describes."""
    pretrained = load_folder(task, source, original["origin"])
    pretrained.trained = original["trained"]
    facts: dict[str, Any] = {key: original[key] for key in SHARED_FACTS if key in original}
    facts |= {
        "format": "ONNX Runtime float32",
        "made_from_sha256": contents_sha256(original),
    }
    with manifest.publish(f"{task}/onnx", facts) as folder:
        save_graphs(build(task, pretrained), folder)
        for name in TOKENIZER_FILES[task]:
            shutil.copy(source / name, folder)
        files = ModelFiles(f"{task}/onnx", folder, {**facts, "files": entries_of(folder)})
        settings = Settings(threads=1)
        if task == "sentiment":
            found = verify_sentiment(pretrained, SentimentClassifier(files, settings.max_input_tokens), None)
        else:
            served = Translator(files, settings)
            found = verify_translation(pretrained, served, served.graphs, None)
        facts["verification"] = found
