"""A chart as the report's page holds it: an SVG without texts, in colours that follow light and dark."""

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from benchmark.charts import style
from benchmark.charts.data import Drawing
from benchmark.charts.draw import charts_folder, draw_one
from benchmark.runs.records import RunFiles

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"

# What a chart draws in -> the same on a dark page, at a like contrast.
COLOURS = {
    style.PAPER: ("paper", "#1d2126"),
    style.INK: ("ink", "#e8eaec"),
    style.PEER: ("peer", "#ffffff"),
    style.MUTED: ("muted", "#a5abb2"),
    style.GRID: ("grid", "#363c43"),
    "#ececec": ("grid-faint", "#2e343a"),
    style.SHADE: ("shade", "#262b31"),
    style.COLOURS["baseline"]: ("baseline", "#9a9a9a"),
    style.COLOURS["optimized"]: ("optimized", "#3f9fd8"),
    style.COLOURS["dynamic_batching"]: ("dynamic", "#e8762c"),
    style.light_colour("baseline"): ("baseline-light", "#4f5255"),
    style.light_colour("optimized"): ("optimized-light", "#2b536d"),
    style.light_colour("dynamic_batching"): ("dynamic-light", "#6e432a"),
    style.text_colour("baseline"): ("baseline-text", "#b4b4b4"),
    style.text_colour("optimized"): ("optimized-text", "#6cb8ea"),
    style.text_colour("dynamic_batching"): ("dynamic-text", "#ff9a5c"),
}
_NAMES = {light.lower(): name for light, (name, _) in COLOURS.items()}


def palette() -> tuple[str, str]:
    """The colours as CSS custom properties, for a light and for a dark page."""
    light = "; ".join(f"--chart-{name}: {colour}" for colour, (name, _) in COLOURS.items())
    dark = "; ".join(f"--chart-{name}: {colour}" for name, colour in COLOURS.values())
    return light, dark


def figure_of(files: RunFiles, drawing: Drawing) -> dict[str, Any]:
    """One chart: its texts, the SVG to put into the page, and the PNG's relative address."""
    if not (charts_folder(files) / f"{drawing.name}.png").is_file():
        draw_one(drawing, files)
    with style.applied(style.INLINE):
        sheet = drawing.draw()
        markup = inline_svg(sheet.svg(drawing.name), drawing.name, sheet.title)
    return {
        "title": sheet.title,
        "subtitle": sheet.subtitle,
        "caption": sheet.caption,
        "svg": Markup(markup),
        "png": f"charts/{drawing.name}.png",
    }


def inline_svg(text: str, prefix: str, title: str) -> str:
    """The SVG with ids that start with `prefix`, as many share one page, and colours of the page."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(text)
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for sheet in root.iter(f"{{{SVG}}}style"):
        sheet.text = (sheet.text or "").replace("*{", f"#{prefix} *{{")
    for element in root.iter():
        for key, value in element.attrib.items():
            element.set(key, _adapted(key, value, prefix))
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    values = sum(element.get("class") == "value" for element in root.iter())
    keys = f"{title}. Arrow keys read its {values} values." if values else title
    root.attrib |= {"id": prefix, "role": "group", "aria-label": keys}
    if values:
        root.set("tabindex", "0")
    return ElementTree.tostring(root, encoding="unicode")


def told_values(svg: str) -> Iterator[str]:
    """The texts that a reader of `svg` sees on hover."""
    for element in ElementTree.fromstring(svg).iter():
        if element.get("class") == "value":
            yield element.findtext(f"{{{SVG}}}title") or ""


def _adapted(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return f"{prefix}-{value}"
    if key in ("href", f"{{{XLINK}}}href"):
        return f"#{prefix}-{value[1:]}" if value.startswith("#") else value
    linked = re.sub(r"url\(#", f"url(#{prefix}-", value)
    if key == "style":
        return re.sub(r"#[0-9a-fA-F]{6}\b", _themed, linked)
    return linked


def _themed(found: re.Match[str]) -> str:
    name = _NAMES.get(found[0].lower())
    return f"var(--chart-{name})" if name else found[0]
