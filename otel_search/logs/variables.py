"""Values of variables that tracebacks show: rich's with `show_locals`, loguru's with `diagnose`, structlog's.

A value stands there beside its variable and not beside its name in a text, and it is cut: half a token is not known
by its looks. So what is cut and may hold a secret is hidden as a whole.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import wrapt

from otel_search.redaction import MARKER, Redactor, marker

_logger = logging.getLogger("otel_search.logs")

_CAPS = ("└ ", "-> ")
"""What stands before a value in loguru's tracebacks, beneath its variable; the second where there is ASCII alone."""

# By rich and by structlog: `'the first 80 characters'+120`.
_CUT = re.compile(r"""b?(['"]).*\1\+\d+""", re.DOTALL)
_POINTER = re.compile(r"[ │|]*(└ |-> )")
_IDENTIFIER = re.compile(r"\w+")
# loguru shows what is called, too, and that has the name of what it gives: `get_token(user)`.
_CALLABLE = re.compile(r"<(?:function|class|built-in|module) ")
_USER_INFO = re.compile(r"://[^/?#\s]*\Z")


def may_show_variables(text: str) -> bool:
    """Whether a text may be one of loguru's tracebacks with the values of variables."""
    return any(cap in text for cap in _CAPS)


class Variables:
    """Hides secrets in the values of variables.

    Args:
        redactor: Says what is hidden.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def shown(self, text: str, *, is_cut: bool = False) -> str:
        """The value of a variable as text, without its secrets."""
        if (is_cut or _CUT.fullmatch(text)) and self._may_be_half(text.rstrip("+0123456789").rstrip("'\".")):
            return marker("value")
        return self._redactor.hidden(text)

    def _may_be_half(self, text: str) -> bool:
        return not self._redactor.is_harmless(text) or _USER_INFO.search(text) is not None

    # -- loguru: lines of a text ---------------------------------------------------------------
    def diagnosed(self, text: str) -> str:
        """A traceback of loguru's: beneath each line of code the values of its variables, each below its name."""
        lines: list[str] = []
        code, beside = "", ""
        for line in text.split("\n"):
            pointer = _POINTER.match(line)
            if pointer is None:
                if beside and line.startswith(beside):  # more of a value that is hidden
                    continue
                code, beside = line, ""
                lines.append(line)
                continue
            column = pointer.start(1)
            value, beside = line[pointer.end() :], ""
            name = _IDENTIFIER.match(code, column)
            kind = self._redactor.field(name[0]) if name is not None and not _CALLABLE.match(value) else None
            if kind is None:
                value = self.shown(value, is_cut=value.endswith("..."))
            elif value != "None":
                value, beside = marker(kind), f"{line[:column]}{' ' * len(pointer[1])}"
            lines.append(line[: pointer.end()] + value)
        return "\n".join(lines)

    # -- rich: a tree ---------------------------------------------------------------------------
    def trace(self, trace: Any) -> None:
        """What rich has taken from an exception and is about to draw."""
        for stack in trace.stacks:
            stack.exc_value = self._redactor.hidden(stack.exc_value)
            if getattr(stack, "notes", None):
                stack.notes = [self._redactor.hidden(str(note)) for note in stack.notes]
            if stack.syntax_error is not None:
                stack.syntax_error.line = self._redactor.hidden(stack.syntax_error.line)
            for frame in stack.frames:
                for name, node in (frame.locals or {}).items():
                    self._node(node, name)

    def _node(self, node: Any, name: str) -> None:
        kind = self._redactor.field(name) if name else None
        if kind is not None and node.value_repr != "None" and not MARKER.fullmatch(node.value_repr):
            node.value_repr, node.children = marker(kind), None
            return
        if node.value_repr:
            node.value_repr = self.shown(node.value_repr)
        children: list[Any] = node.children or []
        is_pair = len(children) == 2 and not any(child.key_repr for child in children)
        first = _bare(children[0].value_repr) if is_pair else ""  # a header, mostly
        for number, child in enumerate(children):
            self._node(child, first if is_pair and number else _bare(child.key_repr))
            child.key_repr = self._redactor.hidden(child.key_repr)


def _bare(text: str) -> str:
    """What stands in the quotes of a `repr`."""
    return text.removeprefix("b").strip("'\"") if text[-1:] in ("'", '"') else text


class RichTracebacks:
    """Looks at what rich's tracebacks show, whoever draws them: its handler, its hook for uncaught exceptions, structlog.

    Args:
        variables: Hides secrets.
        stands_aside: Whether nothing is to be changed.
    """

    def __init__(self, variables: Variables, stands_aside: Callable[[], bool]) -> None:
        self._variables = variables
        self._stands_aside = stands_aside
        self._installed = False
        self._replaced: tuple[Any, Any, Any] | None = None

    def install(self) -> None:
        """Wait for rich's tracebacks, or begin at once if they are there."""
        self._installed = True
        if self._replaced is None:
            wrapt.register_post_import_hook(self._begin, "rich.traceback")

    def uninstall(self) -> None:
        """Leave rich as it was."""
        self._installed = False
        if self._replaced is not None:
            kind, original, ours = self._replaced
            if kind.__dict__.get("extract") is ours:
                kind.extract = original
            self._replaced = None

    def _begin(self, module: Any) -> None:
        try:
            kind = module.Traceback
            original = kind.__dict__["extract"]
        except (AttributeError, KeyError):
            return
        if not self._installed or self._replaced is not None:
            return

        def extract(cls: Any, *args: Any, **kwargs: Any) -> Any:
            trace = original.__get__(None, cls)(*args, **kwargs)
            if not self._stands_aside():
                try:
                    self._variables.trace(trace)
                except Exception as error:  # another version's: nothing of it, rather than all
                    _logger.warning("a traceback is not shown, as its values cannot be looked at: %r", error)
                    trace.stacks = []
            return trace

        ours = classmethod(extract)
        kind.extract = ours
        self._replaced = (kind, original, ours)
