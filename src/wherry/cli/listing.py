"""What all lists share: the choice of a format, filters, and rows as objects whose methods are the fields of a template."""

from wherry.cli import jsonlite
from wherry.cli.context import write_all
from wherry.cli.errors import CliError
from wherry.cli.table import lay_out, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from wherry.cli.flags import Flag

FILTER: "Flag" = ("filter", "f", "list", "", "Show only what matches KEY=VALUE")
FORMAT: "Flag" = ("format", "", "string", "", "'table', 'table TEMPLATE', 'json', or a Go template")


class Row:
    """One line of a list. The public methods of a subclass are its fields; FIELDS names those that JSON shows."""

    go_type = ""
    FIELDS: "tuple[str, ...]" = ()

    def fields(self) -> "dict[str, Any]":
        return {name: getattr(self, name)() for name in sorted(self.FIELDS)}


class _HeaderRow:
    """`{{.Label "com.example.some-label"}}` heads its column with `some label`; every other field is the column's name."""

    go_type = "formatter.SubHeaderContext"

    def __init__(self, headers: "dict[str, str]") -> None:
        self._headers = headers

    def Label(self, name: str) -> str:
        return name.rpartition(".")[2].replace("-", " ").replace("_", " ")

    def __getattr__(self, name: str) -> "Callable[[], Any]":
        from wherry.cli.govalues import NO_VALUE

        value = self._headers.get(name, NO_VALUE)
        return lambda: value


def json_line(row: Row) -> str:
    """A row as Go's encoding/json writes it: keys sorted, and `<`, `>`, `&` escaped."""
    from wherry.cli.gofuncs import to_json

    return to_json(row)


def show(
    rows: "Sequence[Row]", chosen: str, columns: "Sequence[str]", headers: "dict[str, str]", raw: str = "", wrong: str = "template parsing error"
) -> None:
    """Print a list. `chosen`: the value of --format, or empty; `columns`: the fields of the plain table; `raw`: the template of `raw`;
    `wrong` begins the message about a template that fails."""
    if chosen in ("", "table"):
        lines = [[headers[name] for name in columns], *([str(getattr(row, name)()) for name in columns] for row in rows)]
        write_all(1, table(lines).encode("utf-8", "surrogateescape"))
        return
    if chosen == "json":
        text = "".join(json_line(row) + "\n" for row in rows)
    else:
        text = rendered(rows, raw if chosen == "raw" and raw else chosen, headers, wrong)
    write_all(1, text.encode("utf-8", "surrogateescape"))


def rendered(rows: "Sequence[Row]", chosen: str, headers: "dict[str, str]", wrong: str) -> str:
    """The lines of a list by a template, `table TEMPLATE` with a header and aligned."""
    from wherry.cli.gofuncs import HEADER_FUNCTIONS
    from wherry.cli.template import Template, TemplateError, expand

    is_table = chosen.startswith("table")
    source = expand(chosen.removeprefix("table").strip() if is_table else chosen)
    try:
        template = Template(source)
    except TemplateError as error:
        raise CliError(f"{wrong if wrong != RUN else PARSE}: {error}") from None
    try:
        lines = [template.render(row) + "\n" for row in rows]
        if is_table:
            lines.insert(0, Template(source, HEADER_FUNCTIONS).render_so_far(_HeaderRow(headers)) + "\n")
    except TemplateError as error:
        raise CliError(f"{wrong}: {error}") from None
    return lay_out("".join(lines)) if is_table else "".join(lines)


PARSE = "failed to parse template"
RUN = "failed to execute template"


def lines(texts: "Sequence[str]") -> None:
    """Print a list of bare texts (-q)."""
    write_all(1, "".join(text + "\n" for text in texts).encode("utf-8", "surrogateescape"))


def filters(given: "list[str]", flag: str = "-f, --filter") -> str:
    """The `filters` of a request: {"key": {"value": true}}; empty without any."""
    found: dict[str, dict[str, bool]] = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not equals:
            from wherry.cli.flags import FlagError

            raise FlagError(f'invalid argument "{item}" for "{flag}" flag: bad format of filter (expected name=value)')
        found.setdefault(key.strip().lower(), {})[value.strip()] = True
    return jsonlite.dumps(found) if found else ""


def labels(values: "dict[str, str] | None") -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((values or {}).items()))
