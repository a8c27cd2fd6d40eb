"""did_you_mean: the end of a message about an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that suggests the nearest known names, or lists all of them.

    Args:
        word: The unknown name.
        known: The names that exist.

    Example:
        >>> did_you_mean("realnv", ["realnvp", "maf"])
        "Did you mean 'realnvp'?"
        >>> did_you_mean("x", ["realnvp", "maf"])
        'Known names: maf, realnvp.'
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(repr(match) for match in close) + "?"
    return f"Known names: {', '.join(known)}."
