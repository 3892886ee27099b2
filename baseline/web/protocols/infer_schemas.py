"""The JSON of the Open Inference Protocol: requests of a tensor of texts, and responses.

Fields that nothing here depends on are passed over, as in Triton.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, Discriminator, Field, StrictBool, Tag, create_model

from ..schemas import TextTypes, at_least


class BinaryParameters(BaseModel):
    binary_data_size: at_least(0)  # type: ignore[valid-type]


class OutputParameters(BaseModel):
    """`classification` and shared memory would put something else into the answer, so they are refused."""

    binary_data: StrictBool | None = None
    classification: at_least(0, 0) = 0  # type: ignore[valid-type]
    shared_memory_region: None = None


class InferOutput(BaseModel):
    name: str
    datatype: Literal["BYTES", "FP32"]
    shape: list[int]
    data: list[str] | list[float] | None = None
    parameters: BinaryParameters | None = None


class InferResponse(BaseModel):
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutput]


def infer_request(types: TextTypes, outputs: Iterable[str], beams: bool, binary: bool) -> type[BaseModel]:
    """Of a model with these outputs; the texts are `data`, flat or in rows of one each, or `binary`."""
    kinds = Annotated[types.many, Tag("<flat>")], Annotated[types.rows, Tag("<rows>")]
    data: Any = Annotated[Union[kinds], Discriminator(kind_of_data)]  # noqa: UP007
    texts = {"parameters": BinaryParameters} if binary else {"data": data}
    tensor = model(
        "InputTensor",
        name=Literal["text"],
        datatype=Literal["BYTES"],
        shape=Annotated[list[at_least(1)], Field(min_length=1, max_length=2)],  # type: ignore[misc]
        **texts,
    )
    wanted = model(
        "RequestedOutput", name=Literal[*outputs], parameters=(OutputParameters, OutputParameters())
    )
    options: dict[str, Any] = {"num_beams": (types.beams, 1)} if beams else {}
    parameters = model("InferParameters", binary_data_output=(StrictBool, False), **options)
    return model(
        "InferRequest",
        id=(str | None, None),
        inputs=Annotated[list[tensor], Field(min_length=1, max_length=1)],  # type: ignore[valid-type]
        outputs=(Annotated[list[wanted], Field(max_length=len([*outputs]))], []),  # type: ignore[valid-type]
        parameters=(parameters, parameters()),
    )


def model(title: str, /, **fields: Any) -> type[BaseModel]:
    return create_model(title, **fields)


def kind_of_data(data: Any) -> str:
    return "<rows>" if isinstance(data, list) and data and isinstance(data[0], list) else "<flat>"
