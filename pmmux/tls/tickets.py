"""
The name of the key that a context makes its session tickets with.

OpenSSL makes such a key for each context and keeps it to itself; but its name, the first 16 octets
of each ticket (RFC 5077 section 4), is sent in the clear by every client that resumes a session. So
a client in memory is let resume one.
"""

from __future__ import annotations

from OpenSSL import SSL

KEY_NAME_OCTETS = 16
_EXTENSION_TICKET = 0x0023
_EXTENSION_PRE_SHARED_KEY = 0x0029
_PIECE_OCTETS = 65536
_ROUNDS = 10
_HANDSHAKE_AT = 5
_BODY_AT = _HANDSHAKE_AT + 4 + 2 + 32
_TWO, _FOUR = 2, 4


def find_ticket_key_name(context: SSL.Context) -> bytes:
    """The name of its key; empty where it gives no tickets, or not to everybody."""
    client_context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    client_context.set_verify(SSL.VERIFY_NONE)
    client = _connect(client_context)
    try:
        _talk(client, context)
        session = client.get_session()
        if session is None:
            return b""
        again = _connect(client_context)
        again.set_session(session)
        try:
            again.do_handshake()
        except SSL.WantReadError:
            return _read_key_name(again.bio_read(_PIECE_OCTETS))
    except SSL.Error:
        return b""
    return b""


def _connect(context: SSL.Context) -> SSL.Connection:
    connection = SSL.Connection(context)
    connection.set_connect_state()
    return connection


def _talk(client: SSL.Connection, context: SSL.Context) -> None:
    """A whole handshake in memory, with the tickets that follow it."""
    server = SSL.Connection(context)
    server.set_accept_state()
    for _ in range(_ROUNDS):
        is_done = True
        for end, other in ((client, server), (server, client)):
            try:
                end.do_handshake()
            except SSL.WantReadError:
                is_done = False
            _carry(end, other)
        if is_done:
            break
    try:
        # Tickets of TLS 1.3 come after the handshake.
        client.recv(1)
    except SSL.WantReadError:
        return


def _carry(sender: SSL.Connection, receiver: SSL.Connection) -> None:
    try:
        receiver.bio_write(sender.bio_read(_PIECE_OCTETS))
    except SSL.WantReadError:
        return


def _read_key_name(hello: bytes) -> bytes:
    """
    From a ClientHello of our own making in one record.

    @see: RFC 5077 section 3.2; RFC 8446 section 4.2.11
    """
    at = _BODY_AT
    at += 1 + hello[at]
    at += _TWO + int.from_bytes(hello[at : at + _TWO], "big")
    at += 1 + hello[at] + _TWO
    while at + _FOUR <= len(hello):
        kind = int.from_bytes(hello[at : at + _TWO], "big")
        length = int.from_bytes(hello[at + _TWO : at + _FOUR], "big")
        content = hello[at + _FOUR : at + _FOUR + length]
        if kind == _EXTENSION_TICKET and length > KEY_NAME_OCTETS:
            return content[:KEY_NAME_OCTETS]
        if kind == _EXTENSION_PRE_SHARED_KEY:
            # The lengths of all identities and of the first.
            return content[_FOUR : _FOUR + KEY_NAME_OCTETS]
        at += _FOUR + length
    return b""
