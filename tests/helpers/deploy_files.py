"""What the files of deploy/ say: stages of the Dockerfile, YAML documents, dependency groups, queries."""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from checkout import ROOT

from baseline.config import Settings as BaselineSettings
from dynamic_batching.config import Settings as BatchingSettings
from optimized.config import Settings as CacheSettings

DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "inference-gap.json"
RULES = DEPLOY / "prometheus" / "rules.yml"
SETTINGS = {"baseline": BaselineSettings, "optimized": CacheSettings, "dynamic_batching": BatchingSettings}
NAME = re.compile(r"[A-Za-z0-9._-]+")


def documents(path: Path) -> list[dict[str, Any]]:
    return [*yaml.safe_load_all(path.read_text())]


def known_variables(server: str) -> set[str]:
    """The environment variables that a server reads."""
    return {f"GAP_{name.upper()}" for name in SETTINGS[server].model_fields}


def stages(path: Path = DEPLOY / "Dockerfile") -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage by its name, with those of the stage that it starts from."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, list[tuple[str, str]]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            current = found[name] = [*found.get(base, [(word, base)])]
        elif found:
            current.append((word, rest.strip()))
    return found


def group(name: str) -> set[str]:
    """The normalized names of a dependency group's packages, with those of the groups that it includes."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    names: set[str] = set()
    for entry in groups[name]:
        names |= {normalized(entry)} if isinstance(entry, str) else group(entry["include-group"])
    return names


def normalized(requirement: str) -> str:
    """The name of a requirement, as an index knows it."""
    match = NAME.match(requirement)
    assert match
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def imported(starts: Iterable[Path]) -> tuple[set[str], set[Path]]:
    """The third-party packages that files import, in functions too, and the files of ours that they reach."""
    packages: set[str] = set()
    seen: set[Path] = set()
    waiting = [*starts]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in absolute_imports(path):
            own = own_file(name)
            if own:
                waiting.append(own)
            elif name.partition(".")[0] not in sys.stdlib_module_names and not own_file(
                name.rpartition(".")[0]
            ):
                packages.add(name.partition(".")[0])
    return packages, seen


def absolute_imports(path: Path) -> Iterator[str]:
    """The dotted name of everything that a file imports; of `from a import b` both a and a.b."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*above, *(node.module or "").split(".")) if node.module else above)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def own_file(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split(".")) if name else None
    if path is None:
        return None
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)


def panels() -> Iterator[tuple[str, str]]:
    """Title and query of each panel of the dashboard."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def rules() -> Iterator[dict[str, Any]]:
    for one in documents(RULES)[0]["groups"]:
        yield from one["rules"]
