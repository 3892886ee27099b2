"""The same float32 weights as CTranslate2's INT8 model, by its own converter."""

import json
from pathlib import Path
from typing import Any

from ctranslate2.converters import TransformersConverter
from ctranslate2.converters.transformers import BartLoader, register_loader
from safetensors import safe_open

NEVER_CHOSEN = -1e9


class LearnedStartLoader(BartLoader):
    """For models that start decoding from a learned embedding, as the embedded one does.

    The converter's MarianMTLoader starts from zeros, as published models do, and drops the padding token.
    Here that token is kept, with a bias that prevents its choice.
    """

    architecture_name = "MarianMTModel"

    def get_model_spec(self, model: Any) -> Any:
        model.config.normalize_before = model.config.normalize_embedding = False
        model.final_logits_bias[0, model.config.pad_token_id] = NEVER_CHOSEN
        return super().get_model_spec(model)

    def set_config(self, config: Any, model: Any, tokenizer: Any) -> None:
        bos_token = config.bos_token
        super().set_config(config, model, tokenizer)
        config.bos_token = bos_token  # Marian's tokenizer has none, and the format needs one


def convert(models: Path, output: Path) -> None:
    folder = models / "translation" / "pytorch"
    start_id = json.loads((folder / "config.json").read_text())["decoder_start_token_id"]
    with safe_open(folder / "model.safetensors", "np") as weights:
        learned_start = weights.get_slice("model.shared.weight")[start_id].any()
    if learned_start:
        register_loader("MarianConfig")(LearnedStartLoader)
    TransformersConverter(str(folder)).convert(str(output), quantization="int8")
