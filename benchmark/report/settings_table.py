"""The settings of the three servers as tables, from their settings classes."""

from collections.abc import Iterable, Iterator
from importlib import import_module

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from benchmark.report.markdown import table
from benchmark.runs.records import SERVERS
from benchmark.stats.formatting import ABSENT


def settings_tables() -> str:
    """The settings that all servers have with one meaning, then those of each server."""
    fields = {server: import_module(f"{server}.config").Settings.model_fields for server in SERVERS}
    shared = [
        name
        for name, field in fields[SERVERS[0]].items()
        if all(name in own and own[name].description == field.description for own in fields.values())
    ]
    tables = {"All servers": rows(fields[SERVERS[0]], shared)}
    for server, own in fields.items():
        tables[f"`{server}`"] = rows(own, [name for name in own if name not in shared])
    return "\n\n".join(f"**{heading}**\n\n{table(content)}" for heading, content in tables.items())


def rows(fields: dict[str, FieldInfo], names: Iterable[str]) -> Iterator[dict[str, str]]:
    for name in names:
        field, alias = fields[name], fields[name].validation_alias
        variables = alias.choices if isinstance(alias, AliasChoices) else [f"GAP_{name.upper()}"]
        default = "usable CPUs" if field.default_factory else field.default
        yield {
            "variable": " or ".join(f"`{variable}`" for variable in variables),
            "default": ABSENT if default is None else str(default),
            "meaning": field.description or "",
        }
