"""Tables as docker prints them: Go's text/tabwriter with a least width of 10, three blanks between the columns, no rule."""

from wherry.cli.human import columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

LEAST = 10
GAP = 3


def lay_out(text: str) -> str:
    """Align text whose cells end in tabs; a line's last cell ends with the line and widens no column. A column is as wide as the widest of its
    cells in lines that follow one another; a line without that column ends it."""
    rows = [line.split("\t") for line in text.split("\n")]
    if all(len(row) == len(rows[0]) for row in rows[:-1]) and len(rows[-1]) == 1:
        widths = [max(LEAST, GAP + max(columns(row[column]) for row in rows[:-1])) for column in range(len(rows[0]) - 1)] if rows[1:] else []
        return "".join("".join(map(_pad, row, widths)) + row[-1] + "\n" for row in rows[:-1]) + rows[-1][0]
    result = [""] * len(rows)
    _block(rows, 0, 0, len(rows), result)
    return "\n".join(result)


def _pad(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def _block(rows: "list[list[str]]", column: int, first: int, end: int, result: "list[str]") -> None:
    """Write the rows from `first` to `end` from this column on; all of them have the columns before it."""
    at = first
    while at < end:
        if len(rows[at]) - 1 <= column:
            result[at] += rows[at][-1]
            at += 1
            continue
        stop = at
        while stop < end and len(rows[stop]) - 1 > column:
            stop += 1
        width = max(LEAST, GAP + max(columns(row[column]) for row in rows[at:stop]))
        for index in range(at, stop):
            result[index] += _pad(rows[index][column], width)
        _block(rows, column + 1, at, stop, result)
        at = stop


def table(rows: "Iterable[Iterable[str]]") -> str:
    """The text of a table, header first, each line with its newline."""
    return lay_out("".join("\t".join(row) + "\n" for row in rows))
