"""parse_yaml: YAML with the numbers that people write, and errors that say where."""

from __future__ import annotations

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as people write numbers, without aliases.

    PyYAML alone reads 1e-3 as a string. A few lines of nested aliases expand to gigabytes.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        """PyYAML's, for all but aliases."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed", event.start_mark)
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text.

    Args:
        text: The text.
        where: Where it stands, for the message.

    Raises:
        ValueError: If it is not valid YAML.

    Example:
        >>> parse_yaml("[1e-3, 2, lu]", "an option")
        [0.001, 2, 'lu']
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError(f"{where} is not valid YAML: it is nested too deeply.") from None
