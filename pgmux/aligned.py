"""Tables in plain text."""

from collections.abc import Collection, Iterator, Sequence

INDENT = "  "
BETWEEN = "  "


def align(header: Sequence[str], rows: Sequence[Sequence[str]], texts: Collection[int]) -> Iterator[str]:
    """The lines of a table: the columns whose numbers are in `texts` to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = [
            cell.ljust(width) if at in texts else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield (INDENT + BETWEEN.join(cells)).rstrip()
