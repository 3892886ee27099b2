"""Panels of horizontal bars that share their rows: names left of the first panel, figures above the bars."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from benchmark.charts import style, titles
from benchmark.charts.axes import write
from benchmark.charts.sheet import Sheet
from benchmark.stats.formatting import format_exact, format_figure

THICK = 0.42  # of a bar, in rows


def bar_panels(sheet: Sheet, servers: Sequence[str], headings: Sequence[str]) -> list[Axes]:
    """A panel a heading, a row a server; no ticks, as each bar has its figure."""
    panels = list(sheet.figure.subplots(1, len(headings), sharey=True, squeeze=False)[0])
    for ax, heading in zip(panels, headings, strict=True):
        sheet.fit(ax, ax.set_title(heading or " "))
        bare(ax)
    panels[0].set_ylim(max(len(servers), 2) - 0.5, -0.6)
    name_rows(panels[0], {row: titles.name(server) for row, server in enumerate(servers)}, servers)
    return panels


def bare(ax: Axes) -> None:
    ax.grid(visible=False)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)


def name_rows(ax: Axes, names: dict[float, str], servers: Sequence[str], pixels: float = style.LABEL) -> None:
    """Writes a name left of each row, in its server's colour."""
    ax.set_yticks([*names], [*names.values()], fontsize=style.points(pixels))
    for tick, server in zip(ax.get_yticklabels(), servers, strict=True):
        tick.set_color(style.text_colour(server))


def draw_bar(
    sheet: Sheet, ax: Axes, row: int, server: str, figures: dict[str, float], note: str = ""
) -> None:
    """A bar for the first of `figures` (unit to value), a lighter one behind for a second; values above."""
    for index, length in reversed([*enumerate(figures.values())]):
        ax.barh(row, length, height=THICK, color=(style.light_colour if index else style.colour)(server))
    text = " – ".join(map(format_figure, figures.values())) or "not measured"
    ink = style.text_colour(server) if figures else style.MUTED
    sheet.fit(ax, write(ax, text + note, (0, row - THICK / 2), (0, 5), ink=ink))
    if figures:
        values = ", ".join(f"{format_exact(value)} {unit}" for unit, value in figures.items())
        corner = (max(figures.values()), row + THICK / 2)
        sheet.add_value(ax, (0, row - THICK / 2), f"{titles.name(server)}: {values}", corner)
