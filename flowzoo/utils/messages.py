"""Message: text that names arguments, which Python and the command line spell in their own ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Arguments of `flowzoo.create_model`; the others belong to `flowzoo.data.load`.
_OF_MODELS = ("dequantize", "preprocessing")


@dataclass(frozen=True)
class Argument:
    """An argument that a message suggests to use.

    Attributes:
        name: Its name in Python.
        value: The suggested value; None leaves it open.

    Example:
        >>> str(Argument("columns", ["speed", "torque"])), str(Argument("dequantize", [1.0, 0.5]))
        ("columns=['speed', 'torque']", 'create_model(..., dequantize=[1, 0.5])')
    """

    name: str
    value: Any = None

    def __str__(self) -> str:
        spelled = f"{self.name}={'' if self.value is None else _literal(self.value)}"
        return f"create_model(..., {spelled})" if self.name in _OF_MODELS else spelled


class Message(str):
    """A message in Python's words that can be put in others, for errors and warnings.

    Args:
        template: Text with named fields, as for `str.format`.
        **fields: Their values; an `Argument` is spelled as a call in Python.

    Example:
        >>> message = Message("{file} has gaps: use {way}.", file="a.csv", way=Argument("missing", "drop"))
        >>> message
        "a.csv has gaps: use missing='drop'."
        >>> message.spelled(lambda argument: f"--{argument.name} {argument.value}")
        'a.csv has gaps: use --missing drop.'
    """

    template: str
    fields: dict[str, Any]

    def __new__(cls, template: str, **fields: Any) -> Message:
        """Formats the template, and keeps it with its fields."""
        message = super().__new__(cls, template.format(**fields))
        message.template, message.fields = template, fields
        return message

    def __reduce__(self) -> tuple:
        return _restore, (self.template, self.fields)

    def spelled(self, spell: Callable[[Argument], str]) -> str:
        """The message with its arguments in other words.

        Args:
            spell: The words for an argument.
        """
        words = {
            name: spell(value) if isinstance(value, Argument) else value
            for name, value in self.fields.items()
        }
        return self.template.format(**words)


def _restore(template: str, fields: dict[str, Any]) -> Message:
    return Message(template, **fields)


def _literal(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    return f"{value:g}" if isinstance(value, float) else repr(value)
