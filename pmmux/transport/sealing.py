"""
OpenSSL's calls as the relay needs them: from and into buffers that are shared, and without an exception
where there is just nothing yet.

pyOpenSSL copies each record once more than that, and raises where OpenSSL waits for more, five times in
each connection. So L{DirectSealing} makes the same calls on what pyOpenSSL wraps: bulk costs 0.88 (to the
client) and 0.79 (from it) of the CPU time, and a connection 7 % fewer bytecodes. Those attributes are not
public: where they are missing, L{PublicSealing} is used. Nothing else in pmmux knows of them.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

from pmmux.transport.buffer import SharedBuffer

RECORD_OCTETS = 16384
# The most that a record adds: header, nonce or type, and tag.
RECORD_OVERHEAD_OCTETS = 64
# Read, sealed and sent at a time: more falls out of the processor's cache, and stays with each connection
# as OpenSSL's memory.
PIECE_OCTETS = 128 * 1024
# A piece of any size, and what may be said about the connection itself with it.
SEALED_OCTETS = PIECE_OCTETS + (PIECE_OCTETS // RECORD_OCTETS + 1) * RECORD_OVERHEAD_OCTETS + 4096

# What opening has ended with: no room for more, no more of it, the end that was announced, or a fault.
FULL, DRY, ENDED, BROKEN = range(4)


class PublicSealing:
    """
    By pyOpenSSL's public calls alone.

    @ivar buffer: where what is read and what is opened stands.
    """

    def __init__(self, buffer: SharedBuffer) -> None:
        self.buffer = buffer

    def shake(self, connection: Any) -> bool:
        """
        Go on shaking hands.

        @return: whether that is complete; else the other side has to say more.
        @raises OpenSSL.SSL.Error: it failed. So does whatever a callback has raised.
        """
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    def feed(self, connection: Any, octets: bytes) -> None:
        """Hand OpenSSL C{octets} of the other side."""
        connection.bio_write(octets)

    def feed_read(self, connection: Any, count: int) -> None:
        """Hand it the first C{count} octets of the buffer."""
        connection.bio_write(self.buffer.view[:count])

    def open(self, connection: Any, room: int) -> tuple[int, int]:
        """
        Decrypt into the buffer.

        @param room: how many octets at most.
        @return: how many there are, and why there are no more: C{FULL}, C{DRY}, C{ENDED} or C{BROKEN}.
        """
        view = self.buffer.view
        size = 0
        try:
            while size < room:
                size += connection.recv_into(view[size : min(room, size + RECORD_OCTETS)])
        except SSL.WantReadError:
            return size, DRY
        except SSL.ZeroReturnError:
            return size, ENDED
        except SSL.Error:
            return size, BROKEN
        return size, FULL

    def seal(self, connection: Any, octets: Any) -> None:
        """
        Encrypt all of C{octets}.

        @raises OpenSSL.SSL.Error: nothing can be said any more.
        """
        size = len(octets)
        sent = connection.send(octets)
        while sent < size:
            sent += connection.send(octets[sent:])

    def take(self, connection: Any) -> Any:
        """
        What OpenSSL has for the other side.

        @return: octets, empty where there is nothing; good until the next call.
        """
        found = []
        try:
            while True:
                found.append(connection.bio_read(SEALED_OCTETS))
                if len(found[-1]) < SEALED_OCTETS:
                    break
        except SSL.WantReadError:
            pass
        return b"".join(found)


class DirectSealing(PublicSealing):
    """
    By the calls that pyOpenSSL makes.

    @raises AttributeError: this pyOpenSSL is another one.
    """

    def __init__(self, buffer: SharedBuffer) -> None:
        super().__init__(buffer)
        library: Any = SSL._lib  # type: ignore[attr-defined]
        from_buffer: Any = SSL._ffi.from_buffer  # type: ignore[attr-defined]
        example: Any = SSL.Connection(SSL.Context(SSL.TLS_METHOD))
        # Whether they are there is to be known now.
        _ = example._ssl, example._into_ssl, example._from_ssl, example._raise_ssl_error
        self._from_buffer = from_buffer
        self._opened = from_buffer("char[]", buffer.octets)
        self._sealed = bytearray(SEALED_OCTETS)
        self._sealed_view = memoryview(self._sealed)
        self._sealed_at = from_buffer("char[]", self._sealed)
        self._do_handshake = library.SSL_do_handshake
        self._get_error = library.SSL_get_error
        self._read = library.SSL_read
        self._write = library.SSL_write
        self._bio_read = library.BIO_read
        self._bio_write = library.BIO_write
        self._clear_errors = library.ERR_clear_error
        self._wants_more: int = library.SSL_ERROR_WANT_READ
        self._has_ended: int = library.SSL_ERROR_ZERO_RETURN

    def shake(self, connection: Any) -> bool:
        """As of L{PublicSealing}."""
        ssl = connection._ssl
        result = self._do_handshake(ssl)
        if result == 1:
            return True
        if self._get_error(ssl, result) != self._wants_more:
            # It knows what the callbacks have raised.
            connection._raise_ssl_error(ssl, result)
        return False

    def feed(self, connection: Any, octets: bytes) -> None:
        """As of L{PublicSealing}."""
        self._feed(connection, octets, len(octets))

    def feed_read(self, connection: Any, count: int) -> None:
        """As of L{PublicSealing}."""
        self._feed(connection, self._opened, count)

    def _feed(self, connection: Any, octets: Any, count: int) -> None:
        if self._bio_write(connection._into_ssl, octets, count) != count:
            raise MemoryError

    def open(self, connection: Any, room: int) -> tuple[int, int]:
        """As of L{PublicSealing}."""
        ssl = connection._ssl
        read, into = self._read, self._opened
        size = 0
        while size < room:
            count = read(ssl, into + size, room - size)
            if count <= 0:
                break
            size += count
        else:
            return size, FULL
        error = self._get_error(ssl, count)
        if error == self._wants_more:
            return size, DRY
        if error == self._has_ended:
            return size, ENDED
        # None of it is to be taken for the next connection's.
        self._clear_errors()
        return size, BROKEN

    def seal(self, connection: Any, octets: Any) -> None:
        """As of L{PublicSealing}."""
        ssl = connection._ssl
        source = self._from_buffer("char[]", octets)
        size = len(octets)
        sent = 0
        while sent < size:
            result = self._write(ssl, source + sent, size - sent)
            if result <= 0:
                connection._raise_ssl_error(ssl, result)
            sent += result

    def take(self, connection: Any) -> Any:
        """As of L{PublicSealing}."""
        source, into = connection._from_ssl, self._sealed_at
        size = self._bio_read(source, into, SEALED_OCTETS)
        if size < SEALED_OCTETS:
            return self._sealed_view[: max(size, 0)]
        found = []
        while size > 0:
            found.append(bytes(self._sealed_view[:size]))
            size = self._bio_read(source, into, SEALED_OCTETS)
        return b"".join(found)


def make_sealing(buffer: SharedBuffer) -> PublicSealing:
    """The better of them that there is."""
    try:
        return DirectSealing(buffer)
    except AttributeError:
        return PublicSealing(buffer)
