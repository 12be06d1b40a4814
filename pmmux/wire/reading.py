"""What the readers of first octets share: the answer "not yet", and numbers of variable length."""

from __future__ import annotations

from attrs import frozen

_CONTINUES = 0x80
_LOW_BITS = 0x7F
_BITS_PER_OCTET = 7


@frozen(slots=True)
class Incomplete:
    """
    Nothing speaks against it so far.

    @ivar octets_needed: the least number of octets in all that could change that.
    """

    octets_needed: int


@frozen(slots=True)
class Number:
    """
    A number, and where it ends.

    @ivar end: the index of the octet after it.
    """

    value: int
    end: int


def read_varint(octets: bytes, start: int, limit_octets: int) -> Number | Incomplete | None:
    """
    Read a number written in groups of seven bits, lowest first, as MQTT and Minecraft do.

    @param limit_octets: how many octets it may take at most.
    @return: C{None} where it is longer, or longer than its value needs.
    @see: MQTT 5.0, section 1.5.5
    """
    value = 0
    for index in range(limit_octets):
        at = start + index
        if at >= len(octets):
            return Incomplete(at + 1)
        octet = octets[at]
        value |= (octet & _LOW_BITS) << (_BITS_PER_OCTET * index)
        if not octet & _CONTINUES:
            return None if index and not octet else Number(value, at + 1)
    return None
