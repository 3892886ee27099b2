"""The page of /docs: what the OpenAPI document says, without scripts or anything from another host."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

STYLE = """\
body { font: 16px/1.5 sans-serif; max-width: 50em; margin: 2em auto; padding: 0 1em }
pre { background: #f4f4f4; padding: .7em; white-space: pre-wrap }
td, th { padding: .2em 1em .2em 0; text-align: left }
"""
NOT_LIMITS = ("title", "type", "items", "properties", "required", "description")
SAMPLES = {"string": "I love you.", "integer": 1}


def docs_page(document: dict[str, Any], base_url: str) -> str:
    """HTML of an OpenAPI `document`: each route with an example to paste, its fields and its answers."""
    title = escape(document["info"]["title"])
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"]
    parts.append(f"<h1>{title}</h1><p>Made from <a href=openapi.json>/openapi.json</a>.</p>")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += describe(path, method.upper(), operation, base_url)
    return "\n".join(parts)


def describe(path: str, method: str, operation: dict[str, Any], base_url: str) -> Iterator[str]:
    """One route."""
    command, fields = f"curl {base_url.rstrip('/')}{path}", []
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        command += f" -H 'Content-Type: application/json' -d '{json.dumps(sample(schema))}'"
        for body in schema.get("anyOf", [schema]):
            fields += [
                (f"<code>{escape(name)}</code>", limits(of)) for name, of in body["properties"].items()
            ]
    for header in operation.get("parameters", []):
        fields.append((f"header <code>{escape(header['name'])}</code>", limits(header["schema"])))
    yield f"<h2>{method} {escape(path)}</h2><pre>{escape(command)}</pre>"
    if fields:
        yield table("Field", "Limits", fields)
    answers = [(status, escape(answer["description"])) for status, answer in operation["responses"].items()]
    yield table("Status", "Answer", answers)


def sample(schema: dict[str, Any]) -> Any:
    """A valid value, with the fields that it needs; of several kinds one of the first."""
    if kinds := schema.get("anyOf") or schema.get("oneOf"):
        return sample(kinds[0])
    if "properties" in schema:
        return {name: sample(schema["properties"][name]) for name in schema.get("required", [])}
    if "items" in schema:
        return [sample(schema["items"])]
    return schema.get("const", SAMPLES.get(schema.get("type", "")))


def limits(schema: dict[str, Any]) -> str:
    """A field's type and bounds; a list's, then those of its items; an object's, then those of its fields."""
    if kinds := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(map(limits, kinds))
    known = {name: value for name, value in schema.items() if name not in NOT_LIMITS}
    own = ", ".join([schema.get("type", "any"), *(f"{name} {value}" for name, value in known.items())])
    fields = "".join(f"; {escape(name)}: {limits(of)}" for name, of in schema.get("properties", {}).items())
    return escape(own) + (f"; each {limits(schema['items'])}" if "items" in schema else fields)


def table(first: str, second: str, rows: list[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><td>{left}<td>{right}" for left, right in rows)
    return f"<table><tr><th>{first}<th>{second}{lines}</table>"
