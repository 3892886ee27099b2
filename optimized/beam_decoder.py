"""Beam search over the two translation graphs: every beam is a row of the batch that the graphs see."""

import numpy as np

from .beam_search import BeamSearch, placed
from .decoder import GreedyDecoder


class BeamDecoder(GreedyDecoder):
    """Decodes batches, one at a time, greedily or with beams.

    The beams of a text lie side by side, in any order. Each holds the whole source again: 2 * layers *
    d_model * 4 bytes a source token, so 24 KiB with 6 layers of 512.
    """

    def search(
        self, batch: list[list[int]], max_new_tokens: list[int], min_new_tokens: list[int], num_beams: int
    ) -> list[list[int]]:
        """Tokens of each source, in order: without the start token, with the end token if chosen.

        The limits are those of `generate`, which is what a single beam gives. The tokens are those of Hugging
        Face's `generate` with do_sample=False, early_stopping=False, length_penalty=1.0,
        forced_eos_token_id=None and suppress_tokens=[pad].
        """
        if num_beams == 1:
            return self.generate(batch, max_new_tokens, min_new_tokens)
        self.check(batch, max_new_tokens)
        answers: list[list[int]] = [[] for _ in batch]
        texts = [index for index in range(len(batch)) if max_new_tokens[index] > 0]
        if not texts:
            return answers
        cross, src_len = self.encode([batch[index] for index in texts])
        each = np.repeat(np.arange(len(texts)), num_beams)
        tensors = self.buffers([tensor[each] for tensor in cross], src_len[each], max(max_new_tokens))
        searches = [
            BeamSearch(num_beams, max_new_tokens[index], min_new_tokens[index], self.eos_id, self.pad_id)
            for index in texts
        ]
        rows_of = [[*range(start, start + num_beams)] for start in range(0, len(each), num_beams)]
        binding, bound = None, 0
        while texts:
            if binding is None or bound != len(texts) * num_beams:
                bound = len(texts) * num_beams
                binding = self.bind(self.decoder, tensors, bound)
            self.decoder.run_with_iobinding(binding)
            tensors["past_len"][:bound] += 1
            for place in reversed(range(len(texts))):
                search, rows = searches[place], rows_of[place]
                scales = tensors["logits_scale"][rows, 0].tolist()
                parents = search.advance([tensors["logits"][row] for row in rows], scales)
                if search.finished:
                    answers[texts[place]] = search.best
                    # The last text comes into the place of this one.
                    first, last = place * num_beams, (len(texts) - 1) * num_beams
                    for beam in range(num_beams):
                        self.move(tensors, last + beam, first + beam)
                    texts[place], searches[place] = texts[-1], searches[-1]
                    rows_of[place] = [row - last + first for row in rows_of[-1]]
                    for kept in (texts, searches, rows_of):
                        kept.pop()
                else:
                    rows_of[place], copies = placed(parents, rows)
                    for source, target in copies:
                        self.move_past(tensors, source, target)
                    tensors["input_ids"][rows_of[place], 0] = search.last_tokens
        return answers
