"""The same float32 weights as CTranslate2's INT8 model, by its own converter.

That converter drops a Marian model's padding token and starts decoding from a zero embedding, as published
models do. The embedded model starts from a learned embedding: there the token is kept, with a bias that
prevents its choice.
"""

from pathlib import Path
from typing import Any

from ctranslate2.converters import TransformersConverter
from ctranslate2.converters.transformers import BartLoader, MarianMTLoader, register_loader

NEVER_CHOSEN = -1e9


class WithStartToken(MarianMTLoader):
    """The converter's own loader, unless the start embedding is not zero."""

    def get_model_spec(self, model: Any) -> Any:
        if starts_from_zero(model):
            return super().get_model_spec(model)
        model.config.normalize_before = False
        model.config.normalize_embedding = False
        model.final_logits_bias[0, model.config.pad_token_id] = NEVER_CHOSEN
        return BartLoader.get_model_spec(self, model)

    def set_decoder(self, spec: Any, decoder: Any) -> None:
        if not decoder.embed_tokens.weight[decoder.config.decoder_start_token_id].any():
            super().set_decoder(spec, decoder)
        else:
            BartLoader.set_decoder(self, spec, decoder)

    def set_config(self, config: Any, model: Any, tokenizer: Any) -> None:
        super().set_config(config, model, tokenizer)
        if not starts_from_zero(model):
            start_id = model.config.decoder_start_token_id
            config.decoder_start_token = tokenizer.convert_ids_to_tokens(start_id)

    def get_vocabulary(self, model: Any, tokenizer: Any) -> Any:
        loader = MarianMTLoader if starts_from_zero(model) else BartLoader
        return loader.get_vocabulary(self, model, tokenizer)


def starts_from_zero(model: Any) -> bool:
    return not model.get_input_embeddings().weight[model.config.decoder_start_token_id].any()


def convert(models: Path, output: Path) -> None:
    register_loader("MarianConfig")(WithStartToken)
    TransformersConverter(str(models / "translation" / "pytorch")).convert(str(output), quantization="int8")
