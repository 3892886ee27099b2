"""The two models in ONNX Runtime INT8: many texts in as one packed tensor, as many answers out."""

from .config import Settings
from .decoder import Decoder
from .runtime.models import MarianModel, SentimentClassifier, inject_faults
from .web.model_files import ModelFiles
from .web.sentences import TranslatedSentence

WARMUP_TEXT = "Two dogs are playing in the snow."
WARMUP_RUNS = 2


class Translator(MarianModel):
    """English to German with a Marian model; greedy unless beams are asked for."""

    def __init__(self, files: ModelFiles, max_input_tokens: int) -> None:
        super().__init__(files, max_input_tokens)
        # A decoder's buffers serve one batch at a time; as many exist as batches ran at once.
        self._idle_decoders = [Decoder(self.graphs)]

    def translate(self, batch: list[list[int]], num_beams: int = 1) -> list[TranslatedSentence]:
        """The translations of a batch, in order."""
        most, least = zip(*(self.new_tokens(len(token_ids)) for token_ids in batch), strict=True)
        try:
            decoder = self._idle_decoders.pop()
        except IndexError:
            decoder = Decoder(self.graphs)
        try:
            output = decoder.generate(batch, [*most], [*least], num_beams)
        finally:
            self._idle_decoders.append(decoder)
        return [self.sentence(token_ids) for token_ids in output]


class Models:
    """Both models, loaded and warm; with `settings.faults` such as fail on command."""

    def __init__(self, translation: ModelFiles, sentiment: ModelFiles, settings: Settings) -> None:
        self.translator = Translator(translation, settings.max_input_tokens)
        self.classifier = SentimentClassifier(sentiment, settings.max_input_tokens)
        for _ in range(WARMUP_RUNS):
            self.translator.translate([self.translator.tokenize(WARMUP_TEXT)])
            self.classifier.classify([self.classifier.tokenize(WARMUP_TEXT)])
        if settings.faults is not None:
            inject_faults(self.translator, self.classifier, settings.faults)
