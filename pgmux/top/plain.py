"""One look as plain text: for pipes, files, and terminals that can do no more."""

from pgmux.aligned import align
from pgmux.top.headline import describe
from pgmux.top.lines import Observation
from pgmux.top.panels import PANELS, order

MOST_ROWS = 20  # of one panel


def render_plain(observation: Observation) -> str:
    """The headline and all panels, without a final line break."""
    sections = ["\n".join(describe(observation.overview))]
    for panel in PANELS:
        lines = order(panel, panel.lines(observation), panel.sorted_by, is_descending=panel.is_descending)
        header = [column.name for column in panel.columns]
        rows = [[column.cell(line) for column in panel.columns] for line in lines[:MOST_ROWS]]
        texts = [at for at, column in enumerate(panel.columns) if column.is_text]
        more = [f"  and {len(lines) - MOST_ROWS} more"] if len(lines) > MOST_ROWS else []
        sections.append("\n".join([panel.title, *align(header, rows, texts), *more]))
    return "\n\n".join(sections)
