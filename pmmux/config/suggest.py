"""The nearest valid spelling of a word that is not valid."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Below this share of common letters a suggestion confuses more than it helps.
SIMILARITY = 0.6
# Similarity takes quadratic time in the length; no valid word is near this long.
WORD_LIMIT_CHARACTERS = 64
LISTED_LIMIT = 16


def nearest(word: str, candidates: Iterable[str]) -> str:
    """
    The one of C{candidates} that C{word} most likely means.

    @return: empty where none is close.
    """
    spellings = {_fold(candidate): candidate for candidate in candidates}
    folded = _fold(word[:WORD_LIMIT_CHARACTERS])
    if folded in spellings:
        return spellings[folded]
    found = difflib.get_close_matches(folded, spellings, n=1, cutoff=SIMILARITY)
    return spellings[found[0]] if found else ""


def _fold(word: str) -> str:
    return word.strip().lower().replace("_", "-")


def one_of(words: Iterable[str]) -> str:
    """C{words} as what would be accepted; empty where they are too many to be of help."""
    listed = list(words)
    return f"one of {', '.join(listed)}" if 0 < len(listed) <= LISTED_LIMIT else ""
