"""
Small grammars for what text protocols begin with, which also tell what may still become a match.

From one description come two expressions: one for the whole, one for every beginning of it. So a
text is refused at its first octet that cannot match, for any way it was split on arrival.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from attrs import frozen

from pmmux.wire.reading import Incomplete


@frozen(slots=True)
class Run:
    """
    Some octets of one kind.

    @ivar kind: the inside of a character class: C{b"0-9"}.
    """

    kind: bytes
    at_least: int = 1
    at_most: int = 1
    name: str = ""


class _Several:
    """A piece made of pieces."""

    __slots__ = ("name", "pieces")

    def __init__(self, *pieces: Piece, name: str = "") -> None:
        self.pieces = pieces
        self.name = name


class Group(_Several):
    """Pieces one after the other; with C{name}, what they matched is told."""


class OneOf(_Several):
    """Exactly one of the pieces."""


class Maybe(_Several):
    """All of the pieces, or none."""


Piece = bytes | Run | Group | OneOf | Maybe

#: The two ends of a line that servers of text protocols take.
LINE_END = OneOf(b"\r\n", b"\n")
#: An octet of text: no control, any octet of UTF-8.
TEXT = rb" -~\x80-\xff"
#: The same without the space.
WORD = rb"!-~\x80-\xff"


@frozen(slots=True)
class Found:
    """
    What a grammar matched.

    @ivar fields: the named pieces that took part.
    @ivar end: the index of the octet after the match.
    """

    fields: Mapping[str, bytes]
    end: int


class Grammar:
    """
    A sequence of pieces that must not end in one whose length is open.

    Else the answer would change with what comes after: end it with a literal or a L{LINE_END}.
    """

    def __init__(self, *pieces: Piece) -> None:
        self._whole = re.compile(_write_all(pieces), re.DOTALL)
        self._beginning = re.compile(_write_beginning(pieces), re.DOTALL)

    def read(self, octets: bytes, start: int = 0) -> Found | Incomplete | None:
        """Match C{octets} from C{start} on; C{None} where they cannot."""
        whole = self._whole.match(octets, start)
        if whole is not None:
            fields = {name: value for name, value in whole.groupdict().items() if value is not None}
            return Found(fields, whole.end())
        if self._beginning.fullmatch(octets, start) is not None:
            return Incomplete(len(octets) + 1)
        return None


def _write_all(pieces: Sequence[Piece]) -> bytes:
    """The expression that matches C{pieces} in full."""
    return b"".join([_write(piece) for piece in pieces])


def _write(piece: Piece) -> bytes:
    if isinstance(piece, bytes):
        return re.escape(piece)
    if isinstance(piece, Run):
        inner = b"[%b]{%d,%d}" % (piece.kind, piece.at_least, piece.at_most)
    elif isinstance(piece, OneOf):
        inner = b"|".join([_write(inside) for inside in piece.pieces])
    else:
        inner = _write_all(piece.pieces)
    opening = b"(?P<%b>" % piece.name.encode("ascii") if piece.name else b"(?:"
    return opening + inner + (b")?" if isinstance(piece, Maybe) else b")")


def _write_beginning(pieces: Sequence[Piece]) -> bytes:
    """The expression that matches every beginning of C{pieces}, none and all included."""
    if not pieces:
        return b""
    head, rest = pieces[0], pieces[1:]
    after = _write_beginning(rest)
    if isinstance(head, bytes):
        for octet in reversed(head):
            after = b"(?:" + re.escape(bytes([octet])) + after + b")?"
        return after
    if isinstance(head, Run):
        part = b"[%b]{0,%d}" % (head.kind, head.at_most)
        return b"(?:[%b]{%d,%d}%b|%b)" % (head.kind, head.at_least, head.at_most, after, part)
    if isinstance(head, Group):
        return _write_beginning((*head.pieces, *rest))
    if isinstance(head, Maybe):
        return b"(?:%b|%b)" % (_write_beginning((*head.pieces, *rest)), after)
    parts = [_write_beginning((inside,)) for inside in head.pieces]
    bare = b"|".join([_write_all((inside,)) for inside in _without_names(head.pieces)])
    return b"(?:(?:%b)%b|%b)" % (bare, after, b"|".join(parts))


def _without_names(pieces: Sequence[Piece]) -> list[Piece]:
    """The same pieces, unnamed: a name may stand in an expression only once."""
    return [_without_name(piece) for piece in pieces]


def _without_name(piece: Piece) -> Piece:
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, Run):
        return Run(piece.kind, piece.at_least, piece.at_most)
    return type(piece)(*_without_names(piece.pieces))
