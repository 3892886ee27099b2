"""A pair of model and tokenizer, and how one is read from a folder laid out like a hub snapshot."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from model_export.errors import PreparationError

MODEL_TYPES = {"translation": ("marian",), "sentiment": ("distilbert", "bert")}
LABELS = {"NEGATIVE", "POSITIVE"}


@dataclass
class Pretrained:
    """One task's model in float32 and its tokenizer, with where they come from."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    origin: str
    trained: bool = True

    @property
    def architecture(self) -> str:
        config = self.model.config
        if config.model_type == "marian":
            shape = (
                f"{config.encoder_layers}+{config.decoder_layers} layers, d_model {config.d_model}, "
                f"FFN {config.encoder_ffn_dim}"
            )
        else:
            feed_forward = getattr(config, "hidden_dim", None) or config.intermediate_size
            shape = f"{config.num_hidden_layers} layers, d_model {config.hidden_size}, FFN {feed_forward}"
        return f"{type(self.model).__name__}, {shape}, vocabulary {config.vocab_size:,}"

    def save(self, folder: Path) -> None:
        """Writes the hub layout: config, float32 safetensors, tokenizer files."""
        self.model.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)


def load_folder(task: str, folder: Path, origin: str) -> Pretrained:
    """The model and tokenizer in `folder`, which is laid out like a hub snapshot.

    Raises:
        PreparationError: the folder cannot be read as a model of this task.
    """
    kind = AutoModelForSeq2SeqLM if task == "translation" else AutoModelForSequenceClassification
    try:
        model = kind.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PreparationError(f"{folder} does not load as a {task} model: {reason}") from error
    if model.config.model_type not in MODEL_TYPES[task]:
        expected = " or ".join(MODEL_TYPES[task])
        raise PreparationError(
            f"{folder} holds a {model.config.model_type} model; {task} is served with {expected}"
        )
    if task == "sentiment" and set(model.config.id2label.values()) != LABELS:
        raise PreparationError(
            f"{folder} has the labels {sorted(model.config.id2label.values())}; "
            f"sentiment is served with {sorted(LABELS)}"
        )
    return Pretrained(model, tokenizer, origin)
