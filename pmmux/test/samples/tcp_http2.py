"""First octets that the probe C{http2} takes."""

from __future__ import annotations

from pmmux.wire.http2 import PREFACE

MATCHING: list[bytes] = [
    PREFACE,
    PREFACE + bytes.fromhex("000006 04 00 00000000 0003 00000064"),
]
