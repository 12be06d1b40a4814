"""What the strategies that go by tier share."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pmmux.members import Member


async def highest_tier(candidates: AsyncIterator[Member]) -> list[Member]:
    """All candidates of the highest tier there is among them, in definition order."""
    found: list[Member] = []
    async for member in candidates:
        if not found or member.tier == found[0].tier:
            found.append(member)
        elif member.tier < found[0].tier:
            found = [member]
    return found


def load(member: Member) -> float:
    """
    How loaded C{member} would be with one connection more, by its weight.

    With one more, so that of idle members the one with the greater weight is less loaded.
    """
    return (member.active + 1) / member.weight
