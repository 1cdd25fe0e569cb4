"""`--format`: Go's text/template (https://pkg.go.dev/text/template) with docker's functions, over JSON values and rows of lists.

A row is an object with `go_type` whose public methods are its fields. A dict is a Go map, or, when it is a `Struct`, a Go struct.
Not built: {{define}}, {{template}}, {{block}}.
"""

from wherry.cli.goparse import TemplateError, parse
from wherry.cli.govalues import NO_VALUE, Struct, kind, text_of, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from wherry.cli.goparse import Node

__all__ = ["Struct", "Template", "TemplateError", "expand"]


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


def expand(text: str) -> str:
    r"""The escapes `\t` and `\n` of a format, as docker takes them."""
    return text.replace("\\t", "\t").replace("\\n", "\n")


class Template:
    """A parsed template. `functions` replaces those of docker (for headers); with `strict` a key that a map does not have is an error."""

    def __init__(self, text: str, functions: "dict[str, Callable[..., Any]] | None" = None, strict: bool = False, name: str = "") -> None:
        from wherry.cli.gofuncs import FUNCTIONS

        self.text = text
        self.functions = {**FUNCTIONS, **(functions or {})}
        self.strict = strict
        self.name = name
        self._nodes = parse(text, {*self.functions, "and", "or"}, name)

    def render(self, data: "Any") -> str:
        """The template's text for one value; TemplateError."""
        out: list[str] = []
        _Run(self, data, out).body(self._nodes, data)
        return "".join(out)

    def render_so_far(self, data: "Any") -> str:
        """As render, but an error only ends the text."""
        out: list[str] = []
        try:
            _Run(self, data, out).body(self._nodes, data)
        except TemplateError:
            pass
        return "".join(out)


class _Run:
    """One execution: the variables and the output."""

    def __init__(self, template: Template, data: "Any", out: "list[str]") -> None:
        self.template = template
        self.variables: list[tuple[str, Any]] = [("$", data)]
        self.out = out

    def fail(self, position: int, source: str, what: str) -> TemplateError:
        before = self.template.text[:position]
        line, column = before.count("\n") + 1, len(before.rpartition("\n")[2].encode())
        name = self.template.name
        return TemplateError(f'template: {name}:{line}:{column}: executing "{name}" at <{source}>: {what}')

    # -- statements

    def body(self, nodes: "list[Node]", dot: "Any") -> None:
        for node in nodes:
            kind_ = node[0]
            if kind_ == "text":
                self.out.append(node[1])
            elif kind_ == "show":
                self.out.append(text_of(self.pipe(node[1], dot)))
            elif kind_ == "set":
                self.pipe(node[1], dot)
            elif kind_ == "range":
                self._range(node, dot)
            elif kind_ == "break":
                raise _Break
            elif kind_ == "continue":
                raise _Continue
            else:
                self._choose(node, dot)

    def _choose(self, node: "Node", dot: "Any") -> None:
        depth = len(self.variables)
        value = self.pipe(node[1], dot)
        if truth(value):
            self.body(node[2], value if node[0] == "with" else dot)
        else:
            self.body(node[3], dot)
        del self.variables[depth:]

    def _range(self, node: "Node", dot: "Any") -> None:
        names, declares, commands, source, position = node[1]
        depth = len(self.variables)
        value = self.pipe(([], False, commands, source, position), dot)
        pairs = list(self._pairs(value, source, position))
        for key, item in pairs:
            bound = [(names[-1], item)] if len(names) == 1 else list(zip(names, (key, item), strict=False))
            if declares:
                self.variables.extend(bound)
            else:
                for name, new in bound:
                    self._assign(name, new)
            try:
                self.body(node[2], item)
            except _Continue:
                pass
            except _Break:
                break
            finally:
                del self.variables[depth:]
        if not pairs:
            self.body(node[3], dot)

    def _pairs(self, value: "Any", source: str, position: int) -> "Iterator[tuple[Any, Any]]":
        if isinstance(value, Struct):
            raise self.fail(position, source, f"range can't iterate over {text_of(value)}")
        if isinstance(value, dict):
            return iter(sorted(value.items()))
        if isinstance(value, list):
            return enumerate(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return ((number, number) for number in range(value))
        if value is None or value is NO_VALUE:
            return iter(())
        raise self.fail(position, source, f"range can't iterate over {text_of(value)}")

    # -- pipelines

    def _assign(self, name: str, value: "Any") -> None:
        for index in range(len(self.variables) - 1, -1, -1):
            if self.variables[index][0] == name:
                self.variables[index] = (name, value)
                return

    def pipe(self, pipe: "Node", dot: "Any") -> "Any":
        names, declares, commands, _, _ = pipe
        final: tuple[Any, ...] = ()
        for command in commands:
            final = (self._command(command, dot, final),)
        for name in names:
            if declares:
                self.variables.append((name, final[0]))
            else:
                self._assign(name, final[0])
        return final[0]

    def _command(self, command: "list[Node]", dot: "Any", final: "tuple[Any, ...]") -> "Any":
        first, rest = command[0], command[1:]
        kind_ = first[0]
        if kind_ == "func":
            return self._function(first, rest, dot, final)
        if kind_ == "field":
            return self._fields(dot, first[1], first, lambda: self._arguments(rest, dot, final))
        if kind_ == "chain":
            return self._fields(self.operand(first[1], dot), first[2], first, lambda: self._arguments(rest, dot, final))
        if kind_ == "var" and first[2]:
            return self._fields(self._variable(first[1]), first[2], first, lambda: self._arguments(rest, dot, final))
        if kind_ == "nil":
            raise self.fail(first[-1], "nil", "nil is not a command")
        if rest or final:
            place = first[-1] if isinstance(first[-1], int) else 0
            raise self.fail(place, _source(first), f"can't give argument to non-function {_source(first)}")
        return self.operand(first, dot)

    def _arguments(self, nodes: "list[Node]", dot: "Any", final: "tuple[Any, ...]") -> "list[Any]":
        return [*(self.operand(node, dot) for node in nodes), *final]

    def operand(self, node: "Node", dot: "Any") -> "Any":
        kind_ = node[0]
        if kind_ == "lit":
            return node[1]
        if kind_ == "nil":
            return None
        if kind_ == "dot":
            return dot
        if kind_ == "field":
            return self._fields(dot, node[1], node, list)
        if kind_ == "var":
            return self._fields(self._variable(node[1]), node[2], node, list)
        if kind_ == "pipe":
            return self.pipe(node[1], dot)
        if kind_ == "chain":
            return self._fields(self.operand(node[1], dot), node[2], node, list)
        return self._function(node, [], dot, ())

    def _variable(self, name: str) -> "Any":
        for known, value in reversed(self.variables):
            if known == name:
                return value
        raise self.fail(0, name, f"undefined variable: {name}")

    def _function(self, node: "Node", rest: "list[Node]", dot: "Any", final: "tuple[Any, ...]") -> "Any":
        name, position = node[1], node[3]
        if name in ("and", "or"):
            return self._shortcut(name, rest, dot, final, position)
        function = self.template.functions[name]
        self._count(name, function, len(rest) + len(final), position)
        arguments = self._arguments(rest, dot, final)
        self._check_types(name, rest, arguments, position)
        try:
            return function(*arguments)
        except TemplateError as error:
            raise self.fail(position, _command_source(node, rest), f"error calling {name}: {error}") from None
        except TypeError:
            shown = ", ".join(map(kind, arguments))
            raise self.fail(position, _command_source(node, rest), f"wrong type for value; got {shown}") from None

    def _count(self, name: str, function: "Callable[..., Any]", given: int, position: int) -> None:
        code = getattr(function, "__code__", None)
        if code is None:
            return
        wanted, variadic = code.co_argcount, bool(code.co_flags & 4)
        if given < wanted or (given > wanted and not variadic):
            least = "at least " if variadic else ""
            raise self.fail(position, name, f"wrong number of args for {name}: want {least}{wanted} got {given}")

    def _check_types(self, name: str, nodes: "list[Node]", arguments: "list[Any]", position: int) -> None:
        """Go checks an argument's type before the call, a literal's with other words."""
        from wherry.cli.gofuncs import PARAMETERS, TYPES

        for index, wanted in enumerate(PARAMETERS.get(name, "")):
            python_type, go_type = TYPES[wanted]
            value = arguments[index]
            if isinstance(value, python_type) and not (wanted == "i" and isinstance(value, bool)):
                continue
            node = nodes[index] if index < len(nodes) else None
            place = node[-1] if node and isinstance(node[-1], int) else position
            source = _source(node) if node else name
            if node and node[0] == "lit":
                raise self.fail(place, source, f"expected {go_type}; found {source}")
            raise self.fail(place, source, f"wrong type for value; expected {go_type}; got {kind(value)}")

    def _shortcut(self, name: str, rest: "list[Node]", dot: "Any", final: "tuple[Any, ...]", position: int) -> "Any":
        """`and` and `or` stop at the first argument that decides."""
        if not rest and not final:
            raise self.fail(position, name, f"wrong number of args for {name}: want at least 1 got 0")
        value: Any = None
        for node in rest:
            value = self.operand(node, dot)
            if truth(value) == (name == "or"):
                return value
        return final[0] if final else value

    # -- fields

    def _fields(self, value: "Any", names: "list[str]", node: "Node", arguments: "Callable[[], list[Any]]") -> "Any":
        source, position = _source(node), node[-1]
        for index, name in enumerate(names):
            given = arguments() if index == len(names) - 1 else []
            if value is None and index and self.template.strict:  # Go looks a second time, into bare JSON, where the field is not at all
                raise self.fail(position, source, f'map has no entry for key "{names[index - 1]}"')
            value = self._field(value, name, given, source, position)
        return value

    def _field(self, value: "Any", name: str, given: "list[Any]", source: str, position: int) -> "Any":
        if isinstance(value, dict):
            if name in value:
                if given:
                    raise self.fail(position, source, f"{name} is not a method but has arguments")
                return value[name]
            return self._missing(value, name, source, position)
        go_type = getattr(value, "go_type", "")
        if go_type:
            member = getattr(value, name, None) if name[:1].isupper() else None
            if member is None:
                raise self.fail(position, source, f"can't evaluate field {name} in type {go_type}")
            try:
                return member(*given)
            except TypeError:
                wanted = member.__code__.co_argcount - 1
                raise self.fail(position, source, f"wrong number of args for {name}: want {wanted} got {len(given)}") from None
        if value is NO_VALUE:
            return NO_VALUE
        if value is None:
            raise self.fail(position, source, f'nil data; no entry for key "{name}"')
        raise self.fail(position, source, f"can't evaluate field {name} in type {'interface {}' if self.template.strict else kind(value)}")

    def _missing(self, value: "dict[str, Any]", name: str, source: str, position: int) -> "Any":
        lookup = getattr(value, "lookup", None)
        known, found = lookup(name) if lookup else (False, None)
        if known:
            return found
        if isinstance(value, Struct):
            if name in value.zeros:
                return value.zeros[name]
            raise self.fail(position, source, f"can't evaluate field {name} in type {value.go_type}")
        if self.template.strict and lookup:
            raise self.fail(position, source, f'map has no entry for key "{name}"')
        return NO_VALUE


def _source(node: "Node") -> str:
    text = node[-1] if isinstance(node[-1], str) else node[-2]
    return str(text)


def _command_source(node: "Node", rest: "list[Node]") -> str:
    return " ".join([node[1], *(_source(one) for one in rest)])
