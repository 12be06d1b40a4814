"""
IRC: the lines by which a client registers; C{irc.nick} when it has named itself.

Only capitals are taken, as clients send them. A password alone could be anyone's: the line after it
decides.

@see: RFC 2812 section 3.1, IRCv3 "Client capability negotiation"
"""

from __future__ import annotations

import re

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.probes.text import read_text
from pmmux.wire.grammar import LINE_END, TEXT, WORD, Found, Grammar, Group, Maybe, OneOf, Run

#: How far into the stream it is waited for the nickname.
LIMIT_OCTETS = 2048

_WORD = Run(WORD, 1, 200)
_REST = Run(TEXT, 1, 400)
# A letter or one of the special signs, and any octet of UTF-8.
_NICK_BEGINNING = rb"A-Za-z\[\]\\`_^{|}\x80-\xff"
_LINE = Grammar(
    OneOf(
        Group(b"CAP ", OneOf(b"LS", b"LIST", b"END", b"REQ"), Maybe(b" ", _REST)),
        Group(b"NICK ", Maybe(b":"), Run(_NICK_BEGINNING), Run(WORD, 0, 200)),
        # Four parameters: FTP and POP3 have a USER of one.
        Group(b"USER ", _WORD, b" ", _WORD, b" ", _WORD, b" ", _REST),
        Group(b"WEBIRC ", _WORD, b" ", _WORD, b" ", _WORD, b" ", _REST),
        Group(b"PASS ", _REST, name="password"),
    ),
    LINE_END,
)
_NICK = re.compile(rb"(?:\A|\n)NICK :?([!-~\x80-\xff]{1,200})\r?\n")


def inspect(octets: bytes) -> Verdict:
    """Match the first line that only IRC has, after passwords at most."""
    beginning = octets[:LIMIT_OCTETS]
    at = 0
    while True:
        line = _LINE.read(beginning, at)
        if not isinstance(line, Found):
            break
        at = line.end
        if "password" not in line.fields:
            return _match(octets)
    if line is None or len(octets) >= LIMIT_OCTETS:
        return NO_MATCH
    return need(line.octets_needed)


def _match(octets: bytes) -> Verdict:
    nick = _NICK.search(octets, 0, LIMIT_OCTETS)
    if nick is not None:
        return match({"irc.nick": read_text(nick[1])})
    return match({}, len(octets) + 1 if len(octets) < LIMIT_OCTETS else 0)


probe = Probe(name="irc", transport="tcp", provides=("irc.",), inspect=inspect)
