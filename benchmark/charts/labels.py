"""Names beside lines instead of a legend, placed so that no two of them touch."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from benchmark.charts.sheet import Sheet
from benchmark.charts.style import DENSITY, LABEL, MARGIN, format_in_use, points, width_of

GAP = 20  # from an axes' right edge to its labels
BETWEEN = 6  # from a label to the next: nearer, two numbers read as one


@dataclass(frozen=True)
class Label:
    """A text for the data point `x`, `y`, in one colour."""

    x: float
    y: float
    text: str
    ink: str


def room_for(texts: Sequence[str], pixels: float = LABEL) -> float:
    """Where the axes must end, in logical pixels, for `texts` to fit right of them."""
    widest = max((width_of(text, pixels) for text in texts), default=0)
    return format_in_use().width - MARGIN - widest - (GAP if texts else 0)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The places nearest to `wanted` (least squares) that lie `gap` apart within `low` to `high`.

    Where the room is too small for all gaps, they shrink alike.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    # Less the gaps below it, each place must only not be under the one before: pool adjacent violators.
    pools: list[list[float]] = []
    for rank, index in enumerate(order):
        pools.append([wanted[index] - rank * gap])
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    levels = [_mean(pool) for pool in pools for _ in pool]
    top = high - (len(wanted) - 1) * gap
    places = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        places[index] = min(max(levels[rank], low), top) + rank * gap
    return places


def end_labels(sheet: Sheet, ax: Axes, labels: Sequence[Label], pixels: float = LABEL) -> list[Text]:
    """Writes `labels` right of `ax`, each at the height of its point, nudged apart.

    A thin line leads from the point to a label that is not beside it.
    """
    box = ax.get_window_extent()
    half = pixels * 0.62
    ends = [_pixels_of(ax, label.x, label.y) for label in labels]
    low, high = box.y0 / DENSITY, box.y1 / DENSITY
    fitting = min(pixels, (high - low) / max(len(labels), 1) / 1.24)
    places = spread([end[1] for end in ends], fitting * 1.24, low, high)
    left = box.x1 / DENSITY + GAP
    written = []
    for label, end, place in zip(labels, ends, places, strict=True):
        if left - end[0] > 3 * GAP or abs(end[1] - place) > half:
            sheet.figure.add_artist(_leader(sheet, (end[0] + 9, end[1]), (left - 4, place), label.ink))
        written.append(
            sheet.figure.text(
                left / sheet.width,
                place / sheet.height,
                label.text,
                color=label.ink,
                fontsize=points(fitting),
                va="center_baseline",
            )
        )
    return written


def near_labels(
    sheet: Sheet, ax: Axes, labels: Sequence[Label], taken: list[Bbox], pixels: float, reach: float = 13
) -> list[Text]:
    """Writes each of `labels` beside its point, on the side where it covers least of `taken`.

    `taken` holds boxes in logical pixels and grows by what is written.
    """
    box = ax.get_window_extent()
    # A label of the topmost point may rise into the row of the axis' unit.
    within = Bbox.from_extents(box.x0 / DENSITY, box.y0 / DENSITY, sheet.width, box.y1 / DENSITY + pixels)
    written = []
    for label in labels:
        x, y = _pixels_of(ax, label.x, label.y)
        width, height = width_of(label.text, pixels), pixels * 1.1

        def cost(
            side: tuple[float, float], x: float = x, y: float = y, w: float = width, h: float = height
        ) -> float:
            place = _beside(x, y, side, w, h, reach)
            covered = sum(_overlap(place, other) for other in taken)
            far = 60 * (max(abs(side[0]), abs(side[1])) - 1)
            return covered + 9 * (w * h - _overlap(place, within)) + far

        place = _beside(x, y, min(_SIDES, key=cost), width, height, reach)
        taken.append(place.padded(BETWEEN))
        written.append(
            sheet.figure.text(
                place.x0 / sheet.width,
                (place.y0 + place.y1) / 2 / sheet.height,
                label.text,
                color=label.ink,
                fontsize=points(pixels),
                va="center_baseline",
            )
        )
    return written


def boxes_of_line(ax: Axes, places: Sequence[tuple[float, float]], half: float = 8) -> list[Bbox]:
    """Small boxes, in logical pixels, along the line through `places`, for labels to keep off."""
    spots = [_pixels_of(ax, x, y) for x, y in places]
    boxes = [Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in spots]
    for (x0, y0), (x1, y1) in pairwise(spots):
        steps = max(int(max(abs(x1 - x0), abs(y1 - y0)) / half), 1)
        for step in range(1, steps):
            x, y = x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps
            boxes.append(Bbox.from_extents(x - 3, y - 3, x + 3, y + 3))
    return boxes


# Right of the point first, then above, left, below, the corners, and between them.
_SIDES: tuple[tuple[float, float], ...] = (
    *((1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)),
    *((0.5, 1), (0.5, -1), (-0.5, 1), (-0.5, -1), (1, 2.2), (1, -2.2), (3.2, 0), (-3.2, 0)),
)


def _beside(x: float, y: float, side: tuple[float, float], width: float, height: float, reach: float) -> Bbox:
    across, up = (min(max(share, -1), 1) for share in side)
    left = x + side[0] * reach - width * (1 - across) / 2
    bottom = y + side[1] * reach - height * (1 - up) / 2
    return Bbox.from_bounds(left, bottom, width, height)


def _pixels_of(ax: Axes, x: float, y: float) -> tuple[float, float]:
    across, up = ax.transData.transform((x, y))
    return float(across) / DENSITY, float(up) / DENSITY


def _overlap(one: Bbox, other: Bbox) -> float:
    common = Bbox.intersection(one, other)
    return float(common.width * common.height) if common is not None else 0.0


def _leader(sheet: Sheet, start: tuple[float, float], end: tuple[float, float], ink: str) -> Line2D:
    """A thin line between two places of the sheet, in its fractions: an SVG has another density."""
    xs, ys = zip(start, end, strict=True)
    return Line2D(
        [x / sheet.width for x in xs], [y / sheet.height for y in ys], color=ink, linewidth=1, alpha=0.6
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
