"""The parser of Go's text/template (https://pkg.go.dev/text/template), for --format.

Nodes are plain tuples whose first item is their kind; `template` walks them.
Statements: ("text", TEXT), ("show", PIPE), ("set", PIPE), ("if"|"with"|"range", PIPE, BODY, ELSE), ("break",), ("continue",).
PIPE: (names, declares, commands, source, position); a command is a list of operands.
Operands: ("lit", VALUE), ("nil",), ("dot",), ("field", NAMES), ("var", NAME, NAMES), ("func", NAME), ("pipe", PIPE), ("chain", OPERAND, NAMES);
each carries its source text, and where an error can come from it its position, for the message. The position of a chain of fields is that of
its second one, as in Go.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Any

    Node = tuple[Any, ...]

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'"}
_BLANK = " \t\r\n"
_KEYWORDS = ("if", "with", "range", "else", "end", "break", "continue", "true", "false", "nil", "define", "template", "block")
_UNSUPPORTED = ("define", "template", "block")


class TemplateError(Exception):
    """What is wrong with a template, in Go's words."""


class _Parser:
    def __init__(self, text: str, functions: "Container[str]", name: str) -> None:
        self.text = text
        self.functions = functions
        self.name = name
        self.at = 0
        self.line = 1
        self.scopes: list[str] = ["$"]
        self.words: list[tuple[str, str, int]] = []  # the tokens of the action that is being read
        self.next = 0
        self.loops = 0

    def fail(self, what: str) -> "TemplateError":
        return TemplateError(f"template: {self.name}:{self.line}: {what}")

    # -- text and actions

    def body(self, ends: "tuple[str, ...]") -> "tuple[list[Node], str]":
        """Statements up to the end of the template, or up to an action that begins with one of `ends`; returns that word."""
        nodes: list[Node] = []
        while True:
            start = self.text.find("{{", self.at)
            piece = self.text[self.at : start if start >= 0 else len(self.text)]
            trimmed_left = self.trim
            self.trim = False
            if start >= 0 and self.text[start + 2 : start + 3] == "-" and self.text[start + 3 : start + 4] in tuple(_BLANK):
                shown = piece.rstrip(_BLANK)
                inner = start + 4
            else:
                shown, inner = piece, start + 2
            if trimmed_left:
                shown = shown.lstrip(_BLANK)
            if shown:
                nodes.append(("text", shown))
            self.line += piece.count("\n")
            if start < 0:
                if ends:
                    raise self.fail("unexpected EOF")
                self.at = len(self.text)
                return nodes, ""
            if self._comment(inner):
                continue
            self._tokens(inner)
            word = self.words[0] if self.words else ("", "", 0)
            if word[0] == "word" and word[1] in ("end", "else"):
                if word[1] not in ends:
                    if ends == ("end",):
                        raise self.fail("expected end; found {{else}}")
                    raise self.fail(f"unexpected {{{{{word[1]}}}}}")
                return nodes, word[1]
            nodes.append(self._statement())

    trim = False

    def _comment(self, inner: int) -> bool:
        begin = inner
        if not self.text.startswith("/*", begin):
            return False
        end = self.text.find("*/", begin)
        if end < 0:
            raise self.fail("unclosed comment")
        after = end + 2
        if self.text.startswith(" -}}", after):
            self.trim, self.at = True, after + 4
        elif self.text.startswith("}}", after):
            self.at = after + 2
        else:
            raise self.fail("comment ends before closing delimiter")
        self.line += self.text.count("\n", begin, self.at)
        return True

    def _statement(self) -> "Node":
        kind, value, position = self.words[0] if self.words else ("", "", 0)
        if kind == "word" and value in ("if", "with", "range"):
            self.next = 1
            return self._control(value)
        if kind == "word" and value in ("break", "continue"):
            if not self.loops:
                raise self.fail(f"{{{{{value}}}}} outside {{{{range}}}}")
            self.next = 1
            self._finish(value)
            return (value,)
        if kind == "word" and value in _UNSUPPORTED:
            raise self.fail(f"{{{{{value}}}}} is not built into --format")
        self.next = 0
        pipe = self._pipe("command")
        self._finish("command")
        return ("set" if pipe[0] else "show", pipe)

    def _control(self, kind: str) -> "Node":
        depth = len(self.scopes)
        pipe = self._pipe(kind)
        self._finish(kind)
        self.loops += kind == "range"
        then, word = self.body(("end", "else"))
        self.loops -= kind == "range"
        otherwise: list[Node] = []
        if word == "else":
            self.next = 1
            self._skip_blank()
            chained = self.words[self.next][1] if self.next < len(self.words) else ""
            if chained in ("if", "with") and chained == kind:
                self.next += 1
                otherwise = [self._control(chained)]
            else:
                self.next = 1
                self._finish("else")
                otherwise, _ = self.body(("end",))
        del self.scopes[depth:]
        return (kind, pipe, then, otherwise)

    # -- the tokens of one action

    def _tokens(self, at: int) -> None:
        """Split the action that begins at `at` into words; leaves self.at behind its end."""
        self.words, self.next = [], 0
        text, paren = self.text, 0
        while True:
            blank = at
            while at < len(text) and text[at] in _BLANK:
                self.line += text[at] == "\n"
                at += 1
            spaced = at > blank
            if spaced and text.startswith("-}}", at):
                self.trim, self.at = True, at + 3
                break
            if text.startswith("}}", at):
                self.at = at + 2
                break
            if at >= len(text):
                self._check_functions()
                raise self.fail("unclosed action")
            if spaced and self.words:
                self.words.append(("blank", " ", at))
            kind, end = self._token(at)
            paren += (kind == "(") - (kind == ")")
            if paren < 0:
                raise self.fail("unexpected right paren")
            self.words.append((kind, text[at:end], at))
            at = end
        if paren:
            raise self.fail("unclosed left paren")

    def _check_functions(self) -> None:
        """Go meets an unknown function before it misses the end of the action."""
        for kind, value, _ in self.words:
            if kind == "word" and value not in self.functions and value not in _KEYWORDS:
                raise self.fail(f'function "{value}" not defined')

    def _token(self, at: int) -> "tuple[str, int]":
        """Kind and end of the token at `at`."""
        text, char = self.text, self.text[at]
        if char in '"`':
            return "string", self._string_end(at)
        if char == "'":
            return "char", self._string_end(at)
        for mark in (":=", "=", "|", "(", ")", ","):
            if text.startswith(mark, at):
                return mark, at + len(mark)
        if char.isdigit() or (char in "+-" and text[at + 1 : at + 2].isdigit()):
            return "number", self._word_end(at + 1, ".+-")
        if char == ".":
            if text[at + 1 : at + 2].isdigit():
                return "number", self._word_end(at + 1, "")
            if at + 1 == len(text):
                raise self.fail('illegal number syntax: "."')
            end = self._word_end(at + 1, "")
            return ("field" if end > at + 1 else "dot"), end
        if char == "$":
            return "var", self._word_end(at + 1, "")
        if char.isalpha() or char == "_":
            return "word", self._word_end(at, "")
        if self.words and self.words[-1][0] != "blank":
            raise self.fail(f"bad character U+{ord(char):04X} '{char}'")
        raise self.fail(f'unexpected "{char}" in {"operand" if self.words else "command"}')

    def _word_end(self, at: int, more: str) -> int:
        while at < len(self.text) and (self.text[at].isalnum() or self.text[at] == "_" or self.text[at] in more):
            if self.text[at] in "+-" and self.text[at - 1] not in "eEpP":
                break
            at += 1
        return at

    def _string_end(self, at: int) -> int:
        mark = self.text[at]
        end = at + 1
        while end < len(self.text) and self.text[end] != mark:
            if self.text[end] == "\n" and mark != "`":
                break
            end += 2 if self.text[end] == "\\" and mark != "`" else 1
        if end >= len(self.text) or self.text[end] != mark:
            raise self.fail("unterminated " + {"`": "raw quoted string", '"': "quoted string", "'": "character constant"}[mark])
        return end + 1

    # -- pipelines

    def _peek(self) -> str:
        return self.words[self.next][0] if self.next < len(self.words) else ""

    def _skip_blank(self) -> None:
        while self._peek() == "blank":
            self.next += 1

    def _finish(self, context: str) -> None:
        self._skip_blank()
        if self.next < len(self.words):
            raise self.fail(f"unexpected {_shown(self.words[self.next])} in {context}")

    def _pipe(self, context: str) -> "Node":
        self._skip_blank()
        begin = self.words[self.next][2] if self.next < len(self.words) else self.at
        names, declares = self._declaration(context)
        commands: list[list[Node]] = []
        while True:
            commands.append(self._command(context))
            if self._peek() != "|":
                break
            self.next += 1
        for command in commands[1:]:
            if command[0][0] in ("lit", "nil", "dot"):
                raise self.fail(f"non executable command in pipeline stage {commands.index(command) + 1}")
        if declares:
            self.scopes.extend(names)
        end = self.words[self.next - 1][2] + len(self.words[self.next - 1][1]) if self.words else begin
        return (names, declares, commands, self.text[begin:end].strip(), begin)

    def _declaration(self, context: str) -> "tuple[list[str], bool]":
        """`$x :=`, `$x =`, and in a range `$i, $x :=`."""
        mark, names = self.next, []
        while self._peek() == "var":
            names.append(self.words[self.next][1])
            self.next += 1
            self._skip_blank()
            if self._peek() in (":=", "="):
                declares = self._peek() == ":="
                self.next += 1
                for name in names:
                    if not declares and name not in self.scopes:
                        raise self.fail(f'undefined variable "{name}"')
                if len(names) > (2 if context == "range" else 1):
                    raise self.fail(f"too many declarations in {context}")
                return names, declares
            if self._peek() != ",":
                break
            self.next += 1
            self._skip_blank()
        self.next = mark
        return [], False

    def _command(self, context: str) -> "list[Node]":
        operands: list[Node] = []
        self._skip_blank()
        while self.next < len(self.words) and self._peek() not in ("|", ")"):
            operands.append(self._operand(context))
            if self._peek() not in ("blank", "|", ")", ""):
                raise self.fail(f"unexpected {_shown(self.words[self.next])} in operand")
            self._skip_blank()
        if not operands and self._peek() == "|":
            raise self.fail(f'unexpected "|" in {context}')
        if not operands:
            raise self.fail(f"missing value for {context}")
        return operands

    def _operand(self, context: str) -> "Node":
        kind, value, position = self.words[self.next]
        self.next += 1
        if kind == "(":
            pipe = self._pipe("parenthesized pipeline")
            if self._peek() != ")":
                raise self.fail("unclosed left paren")
            self.next += 1
            names = self._fields()
            source = self.text[position : self._behind()]
            return ("chain", ("pipe", pipe, source), names, source, position) if names else ("pipe", pipe, source)
        if kind in ("field", "dot"):
            names = ([value[1:]] if kind == "field" else []) + self._fields()
            if kind == "dot" and names:
                raise self.fail('unexpected . after term "."')
            place = position + len(value) if len(names) > 1 and kind == "field" else position
            return ("field", names, self.text[position : self._behind()], place) if names else ("dot", ".")
        if kind == "var":
            if value not in self.scopes:
                raise self.fail(f'undefined variable "{value}"')
            names = self._fields()
            return ("var", value, names, self.text[position : self._behind()], position + (len(value) if names else 0))
        if kind == "string":
            return ("lit", value[1:-1] if value[0] == "`" else self._unquote(value), value, position)
        if kind == "char":
            char = self._unquote(value)
            if len(char) != 1:
                raise self.fail(f"malformed character constant: {value}")
            return ("lit", ord(char), value, position)
        if kind == "number":
            return ("lit", self._number(value), value, position)
        if kind == "word":
            if value in ("true", "false"):
                return ("lit", value == "true", value, position)
            if value == "nil":
                return ("nil", value, position)
            if value not in self.functions:
                raise self.fail(f'function "{value}" not defined')
            return ("func", value, value, position)
        raise self.fail(f"unexpected {_shown((kind, value, position))} in {context if context != 'parenthesized pipeline' else 'command'}")

    def _fields(self) -> "list[str]":
        names = []
        while self._peek() == "field":
            names.append(self.words[self.next][1][1:])
            self.next += 1
        return names

    def _behind(self) -> int:
        _, value, position = self.words[self.next - 1]
        return position + len(value)

    def _number(self, text: str) -> "int | float":
        try:
            return int(text, 0)
        except ValueError:
            try:
                return float(text)
            except ValueError:
                raise self.fail(f'bad number syntax: "{text}"') from None

    def _unquote(self, text: str) -> str:
        result, at, inner = [], 0, text[1:-1]
        while at < len(inner):
            char = inner[at]
            at += 1
            if char != "\\":
                result.append(char)
                continue
            char, at = inner[at], at + 1
            if char in _ESCAPES:
                result.append(_ESCAPES[char])
            elif char in "xuU" or char in "01234567":
                digits = {"x": 2, "u": 4, "U": 8}.get(char, 3)
                at -= char in "01234567"
                result.append(chr(int(inner[at : at + digits], 16 if char in "xuU" else 8)))
                at += digits
            else:
                raise self.fail("invalid syntax")
        return "".join(result)


def _shown(word: "tuple[str, str, int]") -> str:
    """A token as Go's parser names it in its errors."""
    kind, value, _ = word
    return f'"{value}"' if kind in ("|", "(", ")", ",", "string") else f"<{value}>"


def parse(text: str, functions: "Container[str]", name: str = "") -> "list[Node]":
    """The statements of a template; TemplateError."""
    return _Parser(text, functions, name).body(())[0]
