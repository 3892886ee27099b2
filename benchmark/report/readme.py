"""Writes the README's figures and chart from the runs in results/reference, so that no figure is typed."""

import re
from pathlib import Path

from PIL import Image

from benchmark.charts import headline, sentences
from benchmark.charts.data import RunData
from benchmark.charts.draw import charts_folder, draw_one, drawings
from benchmark.report.known_figures import known_figures
from benchmark.report.markdown import table
from benchmark.report.readme_tables import capacity_tables, ladder_runs, ladder_tables, mix_table, peers_table
from benchmark.report.reference_page import circumstances, reference_page
from benchmark.report.reference_runs import reference_runs
from benchmark.report.summary import summary
from benchmark.runs.environment import ROOT
from benchmark.stats.repeats import repeats_of

REFERENCE = ROOT / "results" / "reference"
README = ROOT / "README.md"


def section(text: str, name: str, content: str) -> str:
    """`text` with what stands behind the marker `<!-- name -->` replaced, up to its end marker if any."""
    block = f"<!-- {name} -->\n{content}\n<!-- /{name} -->"
    pattern = rf"<!-- {name} -->(?:.*?<!-- /{name} -->)?"
    replaced, count = re.subn(pattern, lambda _: block, text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"README.md should have one marker <!-- {name} -->, not {count}")
    return replaced


def write_readme(readme: Path = README, reference: Path = REFERENCE) -> bool:
    """Brings README and the page of the reference runs up to date with the runs; whether a text changed.

    Raises:
        RunNotFound: there is no run in `reference`.
    """
    runs = reference_runs(reference)
    first = runs[0]
    source = first.run["models"]["source"]
    alike = [run for run in runs if run.run["models"]["source"] == source]
    text = readme.read_text(encoding="utf-8")
    text = section(text, "chart", chart(first, readme.parent))
    text = section(text, "figures", figures(first))
    text = section(text, "known", known_figures(alike))
    text = section(text, "ladder", ladder_tables(reference))
    text = section(text, "capacity", capacity_tables(reference))
    text = section(text, "peers", peers_table(reference))
    text = section(text, "mix", mix_table(reference))
    pages = {readme: text, reference / "README.md": reference_page(runs, reference)}
    changed = [path for path, page in pages.items() if not path.is_file() or path.read_text() != page]
    for path in changed:
        path.write_text(pages[path], encoding="utf-8")
    return bool(changed)


def chart(run: RunData, base: Path) -> str:
    """The headline's chart as Markdown, its address from `base`, its title as the alternative text."""
    path = charts_folder(run.files) / f"{headline.NAME}.png"
    level = headline.level_of(run) or headline.USERS
    return f"![{sentences.headline(headline.rates(run, level), level)}]({path.relative_to(base)})"


def figures(run: RunData) -> str:
    """The small table, and the line below it that says where it was measured."""
    rows = list(summary(run, repeats_of(run.files)))
    name = run.files.folder.name
    level = headline.level_of(run)
    return "\n".join(
        [
            table(rows) if rows else "No valid cell.",
            "",
            f"{level} users, unique texts; {circumstances(run.files)}. In brackets: the ratio's interval. "
            f"Every cell and its requests: [results/reference](results/reference/README.md#{name}).",
        ]
    )


def draw_charts(reference: Path = REFERENCE) -> None:
    """Draws the headline's chart of the run that speaks first, and the charts of every ladder.

    They are kept in the repository: with 256 colours they take a third of the bytes and look the same.
    """
    first = reference_runs(reference)[0]
    ladders = [RunData(run) for run in ladder_runs(reference)]
    chosen = [(first, drawing) for drawing in drawings(first) if drawing.name == headline.NAME]
    chosen += [(run, drawing) for run in ladders for drawing in drawings(run)]
    for run, drawing in chosen:
        for path in draw_one(drawing, run.files):
            if path.suffix == ".svg":
                path.unlink()
            else:
                with Image.open(path) as picture:
                    picture.quantize(256).save(path, optimize=True)
