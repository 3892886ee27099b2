"""A chart inside the report's page: an SVG without texts, in colours that follow light and dark."""

import re
from typing import Any

from markupsafe import Markup

from benchmark.charts import style
from benchmark.charts.data import Drawing
from benchmark.charts.draw import charts_folder, draw_one
from benchmark.runs.records import RunFiles

ROOT = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'id="{name}" viewBox="{view_box}" role="group" aria-label="{label}" tabindex="{tabindex}">'
)

# A chart's colours, and the same on a dark page at a similar contrast.
DARK = {
    style.PAPER: "#1d2126",
    style.INK: "#e8eaec",
    style.PEER: "#ffffff",
    style.MUTED: "#a5abb2",
    style.GRID: "#363c43",
    "#ececec": "#2e343a",
    style.SHADE: "#262b31",
    style.COLOURS["baseline"]: "#9a9a9a",
    style.COLOURS["optimized"]: "#3f9fd8",
    style.COLOURS["dynamic_batching"]: "#e8762c",
    style.light_colour("baseline"): "#4f5255",
    style.light_colour("optimized"): "#2b536d",
    style.light_colour("dynamic_batching"): "#6e432a",
    style.text_colour("baseline"): "#b4b4b4",
    style.text_colour("optimized"): "#6cb8ea",
    style.text_colour("dynamic_batching"): "#ff9a5c",
}


def variable(colour: str) -> str:
    """The name of a colour's CSS custom property."""
    return f"--chart-{colour[1:].lower()}"


def figure_of(files: RunFiles, drawing: Drawing) -> dict[str, Any]:
    """One chart: the sheet with its texts, and the SVG to put into the page; draws its files if missing."""
    if not (charts_folder(files) / f"{drawing.name}.png").is_file():
        draw_one(drawing, files)
    with style.applied(style.INLINE):
        sheet = drawing.draw()
        svg = inline_svg(sheet.svg(drawing.name), drawing.name, sheet.title)
    return {"name": drawing.name, "part": drawing.part, "sheet": sheet, "svg": svg}


def inline_svg(svg: str, name: str, title: str) -> Markup:
    """The SVG for a page that holds several: with ids that start with `name`, and the page's colours."""
    root, _, body = svg[svg.index("<svg") :].partition(">")
    body = re.sub("<metadata>.*?</metadata>", "", body, flags=re.DOTALL).replace("*{", f"#{name} *{{")
    body = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub("(?<=: )#[0-9a-fA-F]{6}", lambda colour: f"var({variable(colour[0])}, {colour[0]})", body)
    view_box = root.partition('viewBox="')[2].partition('"')[0]
    values = body.count('class="value"')
    label = f"{title}. Arrow keys read its {values} values." if values else title
    return ROOT.format(name=name, view_box=view_box, label=label, tabindex=0 if values else -1) + Markup(body)
