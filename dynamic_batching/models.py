"""The two models in ONNX Runtime INT8, with the decoders that translations run in."""

from .config import Settings
from .decoder import SlotDecoder
from .runtime.models import MarianModel, SentimentClassifier, inject_faults
from .sequence import Sequence
from .web.model_files import ModelFiles
from .web.sentences import TranslatedSentence

WARMUP_TEXT = "Two dogs are playing in the snow."
# What a larger batch would tell is not worth the wait for it at each start.
MAX_WARMUP_BATCH = 64


class Translator(MarianModel):
    """English to German with a Marian model, greedy or by beam search."""

    def __init__(self, files: ModelFiles, settings: Settings) -> None:
        super().__init__(files, settings.max_input_tokens, screening=settings.vocabulary_screening)
        self._max_batch_size = settings.max_batch_size
        self._keep_finished = settings.translation_batching == "static"
        # A decoder's buffers serve one batch at a time; as many exist as batches ran at once.
        self._idle_decoders: list[SlotDecoder] = []

    def sequence(self, token_ids: list[int], num_beams: int = 1) -> Sequence:
        """What the scheduler needs to translate `token_ids`."""
        return Sequence(token_ids, *self.new_tokens(len(token_ids)), num_beams)

    def new_decoder(self) -> SlotDecoder:
        return SlotDecoder(self.graphs, self._max_batch_size)

    def warmup_sequences(self) -> list[list[Sequence]]:
        # Slots are filled by several joins, which the limit of a run does not bound.
        batches = warmup_batches(self.tokenize(WARMUP_TEXT), self._max_batch_size)
        return [[self.sequence(token_ids) for token_ids in batch] for batch in batches]

    def translate(self, batch: list[list[int]]) -> list[TranslatedSentence]:
        """The translations of a batch that is decoded to its end, in order."""
        try:
            decoder = self._idle_decoders.pop()
        except IndexError:
            decoder = self.new_decoder()
        try:
            sequences = [self.sequence(token_ids) for token_ids in batch]
            answers = decode_batch(decoder, sequences, self._keep_finished)
        finally:
            self._idle_decoders.append(decoder)
        return [self.sentence(token_ids) for token_ids in answers]


def decode_batch(
    decoder: SlotDecoder, sequences: list[Sequence], keep_finished: bool = False
) -> list[list[int]]:
    """Tokens of each sequence, in order: without the start token, with the end token if chosen.

    What exceeds the slots waits for some. With `keep_finished` a sequence is computed on until the last one
    has finished, as Hugging Face's `generate` does it, and no slot is free before.

    Raises ValueError if a source or a limit exceeds the model's positions, the beams the slots, or if
    sequences with beams shall be kept; RuntimeError if others are being decoded. What the run of a sequence
    raises frees all slots.
    """
    if decoder.running:
        raise RuntimeError("sequences are being decoded")
    if any(sequence.num_beams > decoder.max_batch_size for sequence in sequences):
        raise ValueError(f"more beams than {decoder.max_batch_size} slots")
    if keep_finished and any(sequence.num_beams > 1 for sequence in sequences):
        raise ValueError("a search that has finished has no beams to keep")
    waiting = [*sequences]
    answers: dict[Sequence, list[int]] = {}
    try:
        while waiting or decoder.running:
            joining, free = [], decoder.free_slots
            while waiting and waiting[0].num_beams <= free:
                joining.append(waiting.pop(0))
                free -= joining[-1].num_beams
            answers.update(decoder.join(joining))
            result = decoder.step(keep_finished)
            for _, error in result.failed:
                raise error
            answers.update(result.finished)
    finally:
        for sequence in decoder.running:
            decoder.remove(sequence)
    return [answers[sequence] for sequence in sequences]


class Models:
    """Both models, loaded; workers warm them up. With `settings.faults` such as fail on command."""

    def __init__(self, translation: ModelFiles, sentiment: ModelFiles, settings: Settings) -> None:
        self.translator = Translator(translation, settings)
        self.classifier = SentimentClassifier(sentiment, settings.max_input_tokens)
        if settings.faults is not None:
            inject_faults(self.translator, self.classifier, settings.faults)


def warmup_batches(
    token_ids: list[int], max_batch_size: int, max_batch_tokens: int | None = None
) -> list[list[list[int]]]:
    """A batch of one such text, and one of as many as the limits allow, but at most MAX_WARMUP_BATCH."""
    most = min(max_batch_size, MAX_WARMUP_BATCH)
    if max_batch_tokens is not None:
        most = min(most, max_batch_tokens // len(token_ids))
    return [[token_ids] * size for size in (1, max(most, 1))]
