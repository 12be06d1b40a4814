"""Moments as text."""

from __future__ import annotations

import time
from functools import lru_cache

UNKNOWN_TIME = "-"

_MILLISECONDS_PER_SECOND = 1000


@lru_cache(maxsize=8)
def _whole_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def utc_text(seconds: float | None) -> str:
    """
    C{2026-01-31T12:00:00.123Z}, as ISO 8601 and RFC 3339 write it.

    @param seconds: since 1970 in UTC; C{None} gives C{-}.
    @see: RFC 3339, section 5.6
    """
    if seconds is None:
        return UNKNOWN_TIME
    whole = int(seconds)
    return f"{_whole_second(whole)}.{int((seconds - whole) * _MILLISECONDS_PER_SECOND):03d}Z"
