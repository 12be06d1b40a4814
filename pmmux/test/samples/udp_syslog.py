"""Syslog: messages of logger in both formats, and of simpler senders."""

MATCHING: list[bytes] = [
    # logger --rfc5424
    b'<156>1 2026-11-22T17:02:24.494020+00:00 web1 app - - [timeQuality tzKnown="1" isSynced="0"'
    b"] hello world",
    # logger --rfc3164
    b"<34>Nov 22 17:02:26 web1 su: su root failed",
    # nothing known but the priority
    b"<191>1 - - - - - -",
    # a router, with the year and without a host
    b"<189>Nov 22 2026 17:02:26: %SYS-5-CONFIG_I: Configured from console\n",
    # without a host
    b"<13>Feb  5 17:32:18 su[12]: test",
    # only text
    b"<0>\xc3\x9cberhitzung\x00",
]

REFUSED: list[bytes] = [
    # no such priority
    b"<192>1 - - - - - -",
    # a leading zero
    b"<01>text",
    # nothing after it
    b"<13>",
    # not text
    bytes.fromhex("3c31333e010203"),
    # XML
    b'<?xml version="1.0"?>',
]
