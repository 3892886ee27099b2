"""Writes the generated blocks of README.md and docs/ between their markers, so that no figure is typed.

A block is `<!-- NAME ARGUMENT ... -->` to `<!-- /NAME -->`; blocks.BLOCKS has the names.
"""

import os
import re
from pathlib import Path

from PIL import Image

from benchmark.charts.draw import draw_one
from benchmark.report.blocks import BLOCKS, find_drawing
from benchmark.report.reference import Reference
from benchmark.runs.environment import ROOT
from benchmark.runs.errors import BenchmarkError
from benchmark.runs.records import RunFiles

BLOCK = re.compile(r"<!-- (?P<name>[a-z-]+)(?P<arguments>[^<>]*) -->\n.*?<!-- /(?P=name) -->", re.DOTALL)
CHART = re.compile(r"<!-- chart (\S+) (\S+) -->")


def pages(root: Path) -> dict[Path, Reference]:
    """Each page, and the reference runs as it sees them."""
    runs = root / "results" / "reference"
    found = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    return {page: Reference(runs, os.path.relpath(runs, page.parent)) for page in found}


def filled(text: str, reference: Reference) -> str:
    """A page with every block as the runs have it now."""

    def block(match: re.Match[str]) -> str:
        name, arguments = match["name"], match["arguments"]
        if name not in BLOCKS:
            raise BenchmarkError(f"there is no block {name!r}; the blocks are {', '.join(BLOCKS)}")
        content = BLOCKS[name](reference, *arguments.split())
        lines = [f"<!-- {name}{arguments} -->", content, f"<!-- /{name} -->"]
        return "\n".join(line for line in lines if line)

    return BLOCK.sub(block, text)


def write_pages(root: Path = ROOT) -> list[Path]:
    """Brings every page up to date with the reference runs; the pages that changed."""
    texts = {page: filled(page.read_text(), reference) for page, reference in pages(root).items()}
    changed = [page for page, text in texts.items() if page.read_text() != text]
    for page in changed:
        page.write_text(texts[page])
    return changed


def draw_charts(root: Path = ROOT) -> None:
    """Draws the charts that the pages show; with 256 colours they take a third of the bytes."""
    for page, reference in pages(root).items():
        for run, name in CHART.findall(page.read_text()):
            drawing = find_drawing(reference, run, name)
            for path in draw_one(drawing, RunFiles(reference.folder / run)) if drawing else ():
                if path.suffix == ".svg":
                    path.unlink()
                else:
                    with Image.open(path) as picture:
                        picture.quantize(256).save(path, optimize=True)
