"""The INT8 graphs for the operators of kernels/, with a decoding step that chooses each row's next token."""

from collections.abc import Collection
from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from model_export.graph_builder import EMBEDDING
from model_export.graph_rewriter import int8_rows
from model_export.instruction_sets import InstructionSet
from model_export.kernel_quantize import NONE, KernelQuantizer, int8_weights, is_cache
from model_export.screening import Screening, norms

DECODER, GREEDY, SCREENED = "decoder.onnx", "greedy.onnx", "screened.onnx"
NEXT_IDS = "next_ids"


def quantize_for_kernels(
    graphs: dict[str, onnx.ModelProto],
    instructions: InstructionSet,
    float32_layers: Collection[str] = (),
    screening: Screening | None = None,
) -> dict[str, onnx.ModelProto]:
    """The INT8 form, for kernels/ compiled for `instructions`, of graphs that read the token ids `input_ids`.

    `float32_layers` stay in ONNX Runtime's operators. Inputs and outputs keep their names, meaning and
    shapes, except cached keys and values: float16 [rows,1,tokens,heads*head_dim], contiguous for each row.

    With `decoder.onnx` comes `greedy.onnx`, whose output is not logits but `next_ids` int64 [B,1]: each row's
    best token (the first of equals) that is not in its `forbidden` int64 [B,F] (negative for none). So the
    logits of the vocabulary are never written. `screened.onnx`, which comes with `screening`, does not even
    compute most of them. There are no such graphs where the embedding stays in float32.
    Raises PreparationError for a layer whose number of inputs is not a multiple of 4.
    """
    rewritten = {
        name: KernelQuantizer(model, instructions, float32_layers).run() for name, model in graphs.items()
    }
    if DECODER in graphs and EMBEDDING not in float32_layers:
        common = graphs[DECODER], instructions, float32_layers
        rewritten[GREEDY] = GreedyQuantizer(*common).run()
        if screening is not None:
            rewritten[SCREENED] = GreedyQuantizer(*common, screening).run()
    return rewritten


class GreedyQuantizer(KernelQuantizer):
    """A decoding step with the choice of each row's next token."""

    def __init__(
        self,
        model: onnx.ModelProto,
        instructions: InstructionSet,
        float32_layers: Collection[str] = (),
        screening: Screening | None = None,
    ) -> None:
        super().__init__(model, instructions, float32_layers)
        self.screening = screening
        caches = [value for value in self.outputs if is_cache(value)]
        self.inputs.append(helper.make_tensor_value_info("forbidden", TensorProto.INT64, ["B", "F"]))
        self.outputs = [helper.make_tensor_value_info(NEXT_IDS, TensorProto.INT64, ["B", 1]), *caches]

    def project(self, x: str, bias: str, output: str) -> None:
        if self.screening is None:
            inputs = [x, *self.packed(EMBEDDING), "forbidden", self.bias(bias)]
            self.emit("RowArgMax", inputs, [NEXT_IDS])
        else:
            turned = self.turn(x, self.screening)
            inputs = [turned, *self.two_blocks(self.screening), "forbidden", self.bias(bias)]
            self.emit("ScreenedArgMax", inputs, [NEXT_IDS])

    def turn(self, x: str, screening: Screening) -> str:
        """`x` in the screening's coordinates, by its directions in INT8."""
        weight = self.packed_rows("directions", screening.directions.T)
        self.emit("RowLinear", [x, *weight], ["turned"], activation=NONE)
        return "turned"

    def two_blocks(self, screening: Screening) -> list[str]:
        """The output projection for states that were turned: the first block packed, the second by rows."""
        codes, scale = int8_weights(screening.directions.T, self.instructions)
        as_quantized = replace(screening, directions=(codes * scale[:, None]).T)
        first, rest = as_quantized.tokens(self.floats[EMBEDDING])
        rest_codes, rest_scale = int8_rows(rest)
        return [
            *self.packed_rows("first", first),
            self.const("rest.i8", rest_codes),
            self.half("rest.scale", rest_scale),
            self.const("rest.norm", norms(rest_codes, rest_scale)),
        ]
