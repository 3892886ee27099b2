"""The manifest's facts on an artefact's precision and quality, as text."""

from collections.abc import Mapping
from typing import Any

Artefact = Mapping[str, Any]
# Suffix of the 95 % confidence interval, [low, high], of a figure.
INTERVAL = "_interval_95"


def is_float32(artefact: Artefact) -> bool:
    """Whether no layer of an ONNX artefact could be kept in INT8."""
    return artefact.get("precision", {}).get("int8") == []


def is_unchecked(artefact: Artefact) -> bool:
    """Whether an artefact of trained weights was prepared without the quality check."""
    return artefact.get("quality_checked") is False and bool(artefact.get("trained"))


def precision_of(artefact: Artefact) -> str:
    """The precision of an artefact: INT8, float32, or how many of its layers are in which."""
    if "precision" not in artefact:
        return "INT8" if "INT8" in str(artefact.get("format")) else "float32"
    int8, float32 = (len(artefact["precision"][kind]) for kind in ("int8", "float32"))
    if not int8:
        return "float32 (INT8 missed its quality bound)"
    return f"INT8, {float32} of {int8 + float32} layers float32" if float32 else "INT8"


def remarks(artefact: Artefact) -> list[str]:
    """Notes for figures of an artefact that is not all INT8, or whose quality was not checked."""
    mixed = [precision_of(artefact)] if artefact.get("precision", {}).get("float32") else []
    return [*mixed, *(["INT8 quality not checked"] if is_unchecked(artefact) else [])]


def verified(artefact: Artefact) -> str:
    """The figures of an artefact's verification, and whether its quality was not checked."""
    figures = format_figures(artefact.get("verification", {}))
    return ", ".join(filter(None, [figures, "quality not checked" if is_unchecked(artefact) else ""]))


def format_figures(figures: Mapping[str, Any]) -> str:
    """Figures of a verification by name, each with its 95 % interval where it has one."""
    parts = []
    for key, value in figures.items():
        if not key.endswith(INTERVAL):
            interval = figures.get(f"{key}{INTERVAL}")
            low_high = "" if interval is None else f" ({interval[0]:.4g} to {interval[1]:.4g})"
            parts.append(f"{key.replace('_', ' ')} {round(value, 4)}{low_high}")
    return ", ".join(parts)
