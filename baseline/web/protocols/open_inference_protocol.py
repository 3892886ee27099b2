"""The Open Inference Protocol of KServe and Triton (v2), with Triton's binary tensors: /v2.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md and, of
https://github.com/triton-inference-server/server/tree/main/docs/protocol, extension_binary_data.md.
"""

from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

from fastapi import Response
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from ..errors import InvalidInput, text_form
from ..operation import Operation, Query
from ..request_parsing import JSON, invalid, parse_json
from ..schemas import ErrorText, text_types
from ..settings import HttpSettings
from .binary_tensors import decode_bytes, encode_bytes, encode_fp32
from .infer_schemas import InferResponse, infer_request

VERSION = "1"
SERVER = {
    "name": "inference-gap",
    "version": VERSION,
    "extensions": ["binary_tensor_data", "model_configuration"],
}
HEADER_LENGTH = "inference-header-content-length"
TENSOR = ("body", "inputs", 0)
DATA = (*TENSOR, "data")


class Output(NamedTuple):
    """An output tensor: its datatype, that in Triton's configuration, and its value in an engine's answer."""

    datatype: str
    configured: str
    value: Callable[[Any], Any]


# The outputs of a task's model; its one input is `text`.
OUTPUTS = {
    "translation": {"translation": Output("BYTES", "TYPE_STRING", str)},
    "sentiment": {
        "label": Output("BYTES", "TYPE_STRING", attrgetter("label")),
        "score": Output("FP32", "TYPE_FP32", attrgetter("score")),
    },
}


class Infer(Operation):
    """Inference on one BYTES tensor of texts, of shape [n] or [n, 1], in the JSON or behind it.

    The outputs have the input's shape, and are binary where the request says so.
    """

    error, bad_input = ErrorText, (400, ErrorText)
    error_form = staticmethod(text_form)
    answer = InferResponse
    other_answer = "application/octet-stream"

    def __init__(self, settings: HttpSettings, task: str) -> None:
        self.task, self._outputs, self._max_texts = task, OUTPUTS[task], settings.max_batch_texts
        types = text_types(settings)
        self._texts: TypeAdapter[list[str]] = TypeAdapter(types.many)
        request = partial(infer_request, types, self._outputs, beams=task == "translation")
        self._json, self._binary = request(binary=False), request(binary=True)

    @property
    def bodies(self) -> dict[str, dict[str, Any]]:
        return {JSON: self._json.model_json_schema()}

    def parse(self, headers: Mapping[str, str], content: bytearray) -> Query:
        size = len(content)
        if (length := headers.get(HEADER_LENGTH)) is not None:
            if not (length.isdecimal() and len(length) <= 12 and int(length) <= size):
                raise InvalidInput((["header", HEADER_LENGTH], f"Should be a size of at most {size} bytes"))
            size = int(length)
        binary = bytes(content[size:])
        body: Any = parse_json(self._binary if binary else self._json, content[:size])
        (tensor,) = body.inputs
        count, *rest = tensor.shape
        if count > self._max_texts or rest not in ([], [1]):
            problem = f"Shape should be [n] or [n, 1], n at most {self._max_texts}"
            raise InvalidInput(((*TENSOR, "shape"), problem))
        texts = self._read_binary(tensor, binary) if binary else [*map(text_of, tensor.data)]
        if len(texts) != count:
            raise InvalidInput((DATA, f"Data should have {count} elements, as the shape says"))
        num_beams = body.parameters.num_beams if self.task == "translation" else 1
        return Query(texts, partial(self._write, body), lambda index: (*DATA, index), num_beams)

    def _read_binary(self, tensor: Any, binary: bytes) -> list[str]:
        """The texts of the input tensor in what the body holds behind its JSON."""
        if tensor.parameters.binary_data_size != len(binary):
            problem = f"Should be {len(binary)}, the size of what is behind the JSON"
            raise InvalidInput(((*TENSOR, "parameters", "binary_data_size"), problem))
        try:
            elements = decode_bytes(binary, tensor.shape[0])
            return self._texts.validate_python([element.decode() for element in elements])
        except UnicodeDecodeError:
            raise InvalidInput((DATA, "Data should be text in UTF-8")) from None
        except ValidationError as error:
            raise invalid(error, *DATA) from None
        except ValueError as error:
            raise InvalidInput((DATA, str(error))) from None

    def _write(self, body: Any, answers: list[Any]) -> Response:
        """The response to `body`: its JSON, and behind it the outputs that are binary."""
        asked = {one.name: one.parameters.binary_data for one in body.outputs}
        outputs, tensors = [], []
        for name, is_binary in (asked or dict.fromkeys(self._outputs)).items():
            datatype, _, value = self._outputs[name]
            data = [value(answer) for answer in answers]
            output = {"name": name, "datatype": datatype, "shape": body.inputs[0].shape}
            if body.parameters.binary_data_output if is_binary is None else is_binary:
                fp32 = datatype == "FP32"
                tensors.append(encode_fp32(data) if fp32 else encode_bytes([*map(str.encode, data)]))
                output["parameters"] = {"binary_data_size": len(tensors[-1])}
            else:
                output["data"] = data
            outputs.append(output)
        content: dict[str, Any] = {"model_name": self.task, "model_version": VERSION, "outputs": outputs}
        if body.id is not None:
            content["id"] = body.id
        head = to_json(content)
        if not tensors:
            return Response(head, media_type=JSON)
        length = {HEADER_LENGTH: str(len(head))}
        return Response(b"".join((head, *tensors)), headers=length, media_type=self.other_answer)


def text_of(element: str | list[str]) -> str:
    return element if isinstance(element, str) else element[0]


def metadata(task: str, platform: str) -> dict[str, Any]:
    """What GET /v2/models/{task} answers."""
    datatypes = {name: output.datatype for name, output in OUTPUTS[task].items()}
    return {
        "name": task,
        "versions": [VERSION],
        "platform": platform,
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [{"name": name, "datatype": kind, "shape": [-1, 1]} for name, kind in datatypes.items()],
    }


def configuration(task: str, platform: str, max_texts: int) -> dict[str, Any]:
    """What GET /v2/models/{task}/config answers: of Triton's ModelConfig what its clients read."""
    data_types = {name: output.configured for name, output in OUTPUTS[task].items()}
    return {
        "name": task,
        "platform": platform,
        "max_batch_size": max_texts,
        "input": [{"name": "text", "data_type": "TYPE_STRING", "dims": [1]}],
        "output": [{"name": name, "data_type": kind, "dims": [1]} for name, kind in data_types.items()],
    }
