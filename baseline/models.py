"""The two models in PyTorch, float32, eager: one text in, one answer out."""

from typing import Any

import torch
import transformers

from .config import Settings
from .web.model_files import ModelFiles
from .web.schemas import Sentiment
from .web.sentences import TranslatedSentence

WARMUP_TEXT = "Two dogs are playing in the snow."
WARMUP_RUNS = 2


class MarianTokenizer(transformers.MarianTokenizer):
    """With ordinary text where `transformers` makes one unknown token of all from >> to <<."""

    def remove_language_code(self, text: str) -> tuple[list[str], str]:
        """The language code at the start of a text, if the vocabulary has it, and the rest."""
        code, rest = super().remove_language_code(text)
        return (code, rest) if code and code[0] in self.encoder else ([], text)


class Translator:
    """English to German with a Marian model; greedy unless beams are asked for."""

    def __init__(self, files: ModelFiles, settings: Settings) -> None:
        files.verify()
        self.tokenizer = MarianTokenizer.from_pretrained(files.folder, local_files_only=True)
        self.model = transformers.AutoModelForSeq2SeqLM.from_pretrained(
            files.folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        ).eval()
        self.limits: dict[str, Any] = files.facts["generation"]
        self.source_language: str = files.facts["source_language"]
        self.unknown_id = self.tokenizer.unk_token_id
        self.max_input_tokens = min(settings.max_input_tokens, self.limits["max_tokens"])
        # A word boundary before unknown characters and a language code say nothing either.
        silent = self.tokenizer.convert_tokens_to_ids(["▁", *self.tokenizer.supported_language_codes])
        self.meaningless = {*self.tokenizer.all_special_ids, *silent}
        config = self.model.config
        self.model.generation_config = transformers.GenerationConfig(
            do_sample=False,
            early_stopping=False,
            length_penalty=1.0,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
            decoder_start_token_id=config.decoder_start_token_id,
            suppress_tokens=[config.pad_token_id],
        )

    def tokenize(self, text: str) -> list[int]:
        """Token ids, the end token among them."""
        return self.tokenizer(text, split_special_tokens=True).input_ids

    def translate(self, token_ids: list[int], num_beams: int, timeout_s: float) -> TranslatedSentence:
        """The translation; cut short, and so not to be used, where `timeout_s` passes meanwhile."""
        limits = self.limits
        wanted = limits["tokens_per_source_token"] * len(token_ids) + limits["extra_tokens"]
        max_new_tokens = min(wanted, limits["max_tokens"])
        input_ids = torch.tensor([token_ids])
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                num_beams=num_beams,
                max_new_tokens=max_new_tokens,
                min_new_tokens=max_new_tokens if limits["fixed_length"] else None,
                max_time=timeout_s,
            )
        text = self.tokenizer.decode(output[0], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        ended = int(output[0, -1]) == self.model.config.eos_token_id
        return TranslatedSentence(text, "stop" if ended else "length")


class SentimentClassifier:
    """POSITIVE or NEGATIVE, with the softmax probability of the label."""

    def __init__(self, files: ModelFiles, settings: Settings) -> None:
        files.verify()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(files.folder, local_files_only=True)
        self.model = transformers.AutoModelForSequenceClassification.from_pretrained(
            files.folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        ).eval()
        self.max_input_tokens = min(settings.max_input_tokens, self.model.config.max_position_embeddings)
        self.meaningless = set(self.tokenizer.all_special_ids)
        self.labels = [self.model.config.id2label[index] for index in range(2)]

    def tokenize(self, text: str) -> list[int]:
        """Token ids, [CLS] and [SEP] among them."""
        return self.tokenizer(text, split_special_tokens=True).input_ids

    def classify(self, token_ids: list[int]) -> Sentiment:
        input_ids = torch.tensor([token_ids])
        with torch.inference_mode():
            logits = self.model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).logits
        probabilities = logits[0].softmax(-1)
        index = int(probabilities.argmax())
        return Sentiment(label=self.labels[index], score=float(probabilities[index]))


class Models:
    """Both models, loaded and warm; with `settings.faults` such as fail on command."""

    def __init__(self, translation: ModelFiles, sentiment: ModelFiles, settings: Settings) -> None:
        transformers.logging.set_verbosity_error()
        torch.set_num_threads(settings.threads)
        self.translator = Translator(translation, settings)
        self.classifier = SentimentClassifier(sentiment, settings)
        for _ in range(WARMUP_RUNS):
            self.translator.translate(self.translator.tokenize(WARMUP_TEXT), num_beams=1, timeout_s=60.0)
            self.classifier.classify(self.classifier.tokenize(WARMUP_TEXT))
        if settings.faults is not None:
            from .web.fault_injection import Faults

            faults = Faults(settings.faults, "translation", self.translator.tokenize)
            self.translator.model.generate = faults.before(self.translator.model.generate, source_of)
            faults = Faults(settings.faults, "sentiment", self.classifier.tokenize)
            self.classifier.model.forward = faults.before(self.classifier.model.forward, source_of)


def source_of(*, input_ids: torch.Tensor, **_: Any) -> list[list[int]]:
    return input_ids.tolist()
