"""Octets arrive as they were sent: much of them, many transfers of every kind, and many connections."""

from __future__ import annotations

import random
from typing import Any

from attrs import asdict

from tests.support.case import OnFastPath, OnPortablePath, PmmuxCase, one_upstream
from tests.support.process import Pmmux, descriptors
from tests.support.transfers import (
    BOTH,
    CLIENT_FIRST,
    CLIENT_RESETS,
    EAGER,
    ENDED,
    FLOWING,
    HEADER_OCTETS,
    OCTETS,
    PAUSING,
    RESET,
    SERVER_FIRST,
    SERVER_RESETS,
    SLOW,
    Transfer,
)

MIB = 1 << 20
RANDOM_TRANSFERS = 1000
RANDOM_TRANSFERS_WITH_OPTIONS = 150
SEED = 20


def random_transfers(count: int) -> list[Transfer]:
    """Mostly small, a few large; every way to send, to read and to end."""
    chance = random.Random(SEED)

    def size() -> int:
        kind = chance.random()
        if kind < 0.05:
            return 0
        if kind < 0.80:
            return int(2 ** chance.uniform(0, 15))
        if kind < 0.985:
            return int(2 ** chance.uniform(15, 21))
        return int(2 ** chance.uniform(21, 26))

    transfers = []
    for number in range(count):
        sending = chance.choices((FLOWING, PAUSING, OCTETS), (6, 3, 1))[0]
        up, down = size(), size()
        if sending == OCTETS:
            up, down = min(up, 300), min(down, 300)
        elif sending == PAUSING:
            up, down = min(up, MIB), min(down, MIB)
        ending = chance.choices(
            (BOTH, CLIENT_FIRST, SERVER_FIRST, CLIENT_RESETS, SERVER_RESETS), (4, 4, 4, 1, 1)
        )[0]
        transfers.append(
            Transfer(number, up, down, sending, chance.choices((EAGER, SLOW), (4, 1))[0], ending)
        )
    return transfers


class TransferCase:
    """
    A client and a server in processes of their own; pmmux between them.

    @cvar options: lines of C{[pmmux]}.
    """

    options = ""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.run_program("transfers", "serve")
        (said,) = self.server.wait_said("port")
        condition = r'preview = \{"transfer.*'
        self.pmmux = self.start(one_upstream(said["port"], self.options, condition))
        self.before = descriptors(self.pmmux.pid)

    def run_all(self, transfers: list[Transfer], seconds: float) -> None:
        driver = self.run_program("transfers", "drive", str(self.pmmux.port))
        driver.tell([asdict(transfer) for transfer in transfers])
        driver.wait_said("done", 1, seconds)
        at_client = {said["number"]: said for said in driver.wait_said("transfer", len(transfers), 5)}
        at_server = {said["number"]: said for said in self.server.wait_said("transfer", len(transfers))}
        wrong = []
        for transfer in transfers:
            wrong += check(transfer, at_client[transfer.number], at_server[transfer.number])
        self.assertEqual(wrong[:10], [])
        finished = self.pmmux.wait_finished(len(transfers))
        self.assertEqual(len(finished), len(transfers))
        self.check_counts(finished, transfers)
        self.wait_closed(self.pmmux, self.before["socket"])
        self.check_descriptors(self.pmmux)

    def check_counts(self, finished: list[dict[str, Any]], transfers: list[Transfer]) -> None:
        complete = [each for each in transfers if each.ending not in (CLIENT_RESETS, SERVER_RESETS)]
        closed = [line for line in finished if line["outcome"] == "closed"]
        self.assertEqual(len(closed), len(complete))
        self.assertEqual(
            sum(line["octets_from_client"] for line in closed),
            sum(each.up + HEADER_OCTETS for each in complete),
        )
        self.assertEqual(
            sum(line["octets_from_upstream"] for line in closed), sum(each.down for each in complete)
        )

    def check_descriptors(self, pmmux: Pmmux) -> None:
        # Pipes may be kept for the next that needs them; nothing else may.
        after = descriptors(pmmux.pid)
        after.pop("pipe", None)
        self.assertEqual(after, {kind: count for kind, count in self.before.items() if kind != "pipe"})


class TransferTests(TransferCase):
    def test_random(self) -> None:
        self.run_all(random_transfers(RANDOM_TRANSFERS), 120)

    def test_two_gigabytes_down(self) -> None:
        self.run_all([Transfer(1, 0, 2048 * MIB, ending=CLIENT_FIRST)], 60)

    def test_two_gigabytes_up(self) -> None:
        self.run_all([Transfer(1, 2048 * MIB, 0, ending=CLIENT_FIRST)], 60)

    def test_ten_of_half_a_gigabyte_at_once(self) -> None:
        endings = (SERVER_FIRST, CLIENT_FIRST)
        self.run_all(
            [
                Transfer(
                    number, *((0, 512 * MIB) if number % 2 else (512 * MIB, 0)), ending=endings[number % 2]
                )
                for number in range(10)
            ],
            90,
        )

    def test_both_ways_at_once(self) -> None:
        self.run_all([Transfer(number, 100 * MIB, 100 * MIB) for number in range(2)], 60)


def check(transfer: Transfer, client: dict[str, Any], server: dict[str, Any]) -> list[str]:
    """@return: what is wrong, in words."""
    up, down, ends = transfer.up, transfer.down, (ENDED, ENDED)
    if transfer.ending == CLIENT_RESETS:
        up, down, ends = server["received"], 0, (ENDED, RESET)
    elif transfer.ending == SERVER_RESETS:
        up, down, ends = 0, client["received"], (RESET, ENDED)
    wrong = []
    if (client["received"], server["received"]) != (down, up):
        wrong.append(f"{transfer}: received {client['received']} down, {server['received']} up")
    if (client["end"], server["end"]) != ends:
        wrong.append(f"{transfer}: client {client['end']}, server {server['end']}, not {ends}")
    if not (client["intact"] and server["intact"]):
        wrong.append(f"{transfer}: octets were not as sent")
    return wrong


class FastTransferTests(TransferTests, OnFastPath, PmmuxCase):
    pass


class PortableTransferTests(TransferTests, OnPortablePath, PmmuxCase):
    pass


class OptionTests(TransferCase):
    """Nothing of it depends on what the data path was told to do."""

    options = """
splice = never
buffer-size = 4KiB
congestion-control = reno
defer-accept = true
tcp-fast-open = true
"""

    def test_random(self) -> None:
        self.run_all(random_transfers(RANDOM_TRANSFERS_WITH_OPTIONS), 60)


class FastOptionTests(OptionTests, OnFastPath, PmmuxCase):
    pass


class PortableOptionTests(OptionTests, OnPortablePath, PmmuxCase):
    pass
