"""The same for the same client address, as long as it is there, in the highest tier."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from hashlib import blake2b

from zope.interface import implementer

from pmmux.interfaces import IRoutingStrategy
from pmmux.members import Member
from pmmux.model import Client
from pmmux.strategies.tiers import highest_tier

KEY_OCTETS = 16
HASH_OCTETS = 8
_HASHES = 1 << (8 * HASH_OCTETS)


@implementer(IRoutingStrategy)
class SourceHash:
    """
    See the module. Weighted rendezvous hashing: each member draws lots for the client, by its name
    and the client's address alone, and the best wins. So a member that goes moves only its own
    clients, one that comes or gains weight takes from each other what is its share, and every
    process chooses alike. Nothing is kept.
    """

    name = "source-hash"

    async def choose(
        self, client: Client, properties: Mapping[str, str], candidates: AsyncIterator[Member]
    ) -> Member | None:
        """Looks at every candidate."""
        members = await highest_tier(candidates)
        if len(members) <= 1:
            return members[0] if members else None
        key = blake2b(client.remote.host.encode("utf-8", "surrogateescape"), digest_size=KEY_OCTETS).digest()
        best = members[0]
        lowest = math.inf
        for member in members:
            drawn = blake2b(member.name.encode("utf-8"), digest_size=HASH_OCTETS, key=key).digest()
            # Exponentially distributed with the weight as its rate: the lowest is this one with a
            # probability of its weight's share.
            lot = -math.log((int.from_bytes(drawn, "big") + 1) / _HASHES) / member.weight
            if lot < lowest:
                best, lowest = member, lot
        return best


make_strategy = SourceHash
