"""Tables as the text that a log holds."""

from rich.console import Console
from rich.table import Table


def as_text(table: Table) -> str:
    console = Console(width=400, no_color=True)
    with console.capture() as captured:
        console.print(table)
    return captured.get()
