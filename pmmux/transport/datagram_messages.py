"""
Several datagrams by one system call: C{recvmmsg} and C{sendmmsg}, which Python itself does not have.

They are called by cffi, which cryptography brings along and which compiles nothing here. Measured
with datagrams of 200 octets: receiving 16 at a time takes 0.6 us for each instead of 1.1, sending
them 1.2 us instead of 1.7.

@see: recvmmsg(2), sendmmsg(2)
"""

from __future__ import annotations

import importlib
import mmap
import socket
import struct
import sys
from typing import Any

from pmmux.transport.datagram_sockets import DATAGRAM_LIMIT_OCTETS

SLOTS = 64
# Slots a power of two apart would share the same few lines of the processor's caches.
SLOT_STRIDE_OCTETS = DATAGRAM_LIMIT_OCTETS + 33 * 64
NAME_OCTETS = {socket.AF_INET: 16, socket.AF_INET6: 28}
DONT_WAIT = socket.MSG_DONTWAIT

_DECLARATIONS = """
struct iovec { void *iov_base; size_t iov_len; };
struct msghdr {
    void *msg_name; uint32_t msg_namelen; struct iovec *msg_iov; size_t msg_iovlen;
    void *msg_control; size_t msg_controllen; int msg_flags;
};
struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
int recvmmsg(int descriptor, struct mmsghdr *messages, unsigned int count, int flags, void *timeout);
int sendmmsg(int descriptor, struct mmsghdr *messages, unsigned int count, int flags);
"""
# Where the fields stand on 64-bit systems, in words of 8 or 4 octets.
_HEADER_OCTETS = 64
_HEADER_LONGS, _HEADER_WORDS, _PART_WORDS = 8, 16, 4
_NAME_SIZE_WORD, _LENGTH_WORD = 2, 14
# The lower half of a size_t; the upper one is always 0.
_PART_SIZE_WORD = 2 if sys.byteorder == "little" else 3


def _open_library() -> tuple[Any, Any]:
    try:
        ffi = importlib.import_module("cffi").FFI()
    except ImportError:
        return None, None
    try:
        ffi.cdef(_DECLARATIONS)
        library = ffi.dlopen(None)
        library.recvmmsg, library.sendmmsg  # noqa: B018 - looked up when they are first named
    except (AttributeError, OSError):
        return None, None
    return (ffi, library) if ffi.sizeof("struct mmsghdr") == _HEADER_OCTETS else (None, None)


_ffi, _library = _open_library()
ARE_THERE: bool = _library is not None
"""Whether this system has them, and cffi."""

if ARE_THERE:
    receive_several, send_several, NO_TIMEOUT = _library.recvmmsg, _library.sendmmsg, _ffi.NULL


def last_error() -> int:
    """C{errno} of the last call."""
    found: int = _ffi.errno
    return found


class Slots:
    """
    Room for so many datagrams of any size; what is never used takes no memory.

    @ivar views: one of each.
    @ivar addresses: where each begins.
    """

    __slots__ = ("addresses", "views")

    def __init__(self) -> None:
        room = mmap.mmap(-1, SLOTS * SLOT_STRIDE_OCTETS)
        whole = memoryview(room)
        first = int(_ffi.cast("uintptr_t", _ffi.from_buffer(room)))
        starts = range(0, SLOTS * SLOT_STRIDE_OCTETS, SLOT_STRIDE_OCTETS)
        self.views = [whole[start : start + DATAGRAM_LIMIT_OCTETS] for start in starts]
        self.addresses = [first + start for start in starts]


class Messages:
    """
    As many message headers as there are slots, each with its slot.

    @ivar headers: for the system calls, by the first message.
    @ivar sizes: of what was received, in octets.
    @ivar sizes_to_send: in octets.
    @ivar names: where the addresses stand that messages are sent to.
    @ivar name_sizes: of these, in octets.
    """

    __slots__ = ("_headers", "_parts", "headers", "name_sizes", "names", "sizes", "sizes_to_send", "slots")

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self._headers = _ffi.new("struct mmsghdr[]", SLOTS)
        self._parts = _ffi.new("struct iovec[]", SLOTS)
        for at, address in enumerate(slots.addresses):
            self._parts[at].iov_base = _ffi.cast("void *", address)
            self._parts[at].iov_len = DATAGRAM_LIMIT_OCTETS
            self._headers[at].msg_hdr.msg_iov = self._parts + at
            self._headers[at].msg_hdr.msg_iovlen = 1
        self.headers = [self._headers + at for at in range(SLOTS)]
        words = memoryview(_ffi.buffer(self._headers)).cast("I")
        self.sizes = words[_LENGTH_WORD::_HEADER_WORDS]
        self.name_sizes = words[_NAME_SIZE_WORD::_HEADER_WORDS]
        self.names = memoryview(_ffi.buffer(self._headers)).cast("Q")[::_HEADER_LONGS]
        # Of the same type as what is received, so that many are copied at once.
        self.sizes_to_send = memoryview(_ffi.buffer(self._parts)).cast("I")[_PART_SIZE_WORD::_PART_WORDS]


class Incoming:
    """
    What clients send to sockets of one family, and on to upstreams from where it is.

    @ivar received: for C{receive_several}, with room for whom they are from.
    @ivar outgoing: for C{send_several}, by sockets that are connected.
    """

    __slots__ = ("_name_room", "_name_splitters", "_names", "outgoing", "received")

    def __init__(self, slots: Slots, family: int) -> None:
        self.received, self.outgoing = Messages(slots), Messages(slots)
        octets = NAME_OCTETS[socket.AddressFamily(family)]
        self._names = _ffi.new("char[]", SLOTS * octets)
        first = int(_ffi.cast("uintptr_t", self._names))
        for at in range(SLOTS):
            self.received.names[at] = first + at * octets
            self.received.name_sizes[at] = octets
        self._name_room = _ffi.buffer(self._names)
        self._name_splitters = [struct.Struct(f"{octets}s" * count) for count in range(SLOTS + 1)]

    def names(self, count: int) -> tuple[bytes, ...]:
        """Whom the first C{count} are from, as the system writes it."""
        return self._name_splitters[count].unpack_from(self._name_room)


class Destination:
    """
    Whom datagrams are for.

    @ivar name: the address as the system writes it.
    @ivar pointer: where that stands.
    @ivar pointers: the same, many times.
    """

    __slots__ = ("_room", "name", "pointer", "pointers")

    def __init__(self, name: bytes, most: int) -> None:
        """@param most: how many it may be sent at once."""
        self.name = name
        self._room = _ffi.new("char[]", name)
        self.pointer = int(_ffi.cast("uintptr_t", self._room))
        self.pointers = memoryview(self.pointer.to_bytes(8, sys.byteorder) * most).cast("Q")


class Replies:
    """
    What upstreams say in one round, until it leaves by one call: it stays where it was received.

    @ivar received: for C{receive_several}.
    @ivar used: slots that are taken.
    @ivar current: the view of what is being handed on, which is in C{slot}.
    """

    __slots__ = (
        "_end",
        "_held",
        "_outgoing",
        "_sender",
        "_start",
        "current",
        "received",
        "slot",
        "slots",
        "used",
    )

    def __init__(self) -> None:
        self.slots = Slots()
        self.received, self._outgoing = Messages(self.slots), Messages(self.slots)
        self._start = self._end = 0
        # With the slot after the last one for it. They must live until all is sent: their addresses are
        # in memory of their own.
        self._held: list[tuple[int, Destination]] = []
        self._sender: Any = None
        self.used = 0
        self.current: memoryview | None = None
        self.slot = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._held

    def add(self, sender: Any, to: Destination) -> None:
        """Let C{current} leave by C{sender}, a L{pmmux.transport.datagram_batched.BatchedPort}."""
        slot, octets = self.slot, self.current
        assert octets is not None
        if self._sender is not sender or slot != self._end:
            self._begin(sender, to, slot)
        outgoing = self._outgoing
        outgoing.names[slot] = to.pointer
        outgoing.sizes_to_send[slot] = len(octets)
        self._end = slot + 1
        self._held.append((slot + 1, to))

    def add_several(self, sender: Any, to: Destination, first: int, end: int) -> None:
        """Let what was received into the slots from C{first} to C{end} leave by C{sender}."""
        if self._sender is not sender or first != self._end:
            self._begin(sender, to, first)
        outgoing = self._outgoing
        outgoing.names[first:end] = to.pointers[: end - first]
        outgoing.sizes_to_send[first:end] = self.received.sizes[first:end]
        self._end = end
        self._held.append((end, to))

    def _begin(self, sender: Any, to: Destination, slot: int) -> None:
        self.flush()
        self._start = slot
        if self._sender is not sender:
            self._sender = sender
            self._outgoing.name_sizes[:] = memoryview(struct.pack("I", len(to.name)) * SLOTS).cast("I")

    def flush(self) -> None:
        """Send what there is; whatever cannot be is lost."""
        self.used = 0
        held = self._held
        if not held:
            return
        sender, headers = self._sender, self._outgoing.headers
        at, end = self._start, self._end
        while at < end:
            sent: int = send_several(sender.number, headers[at], end - at, DONT_WAIT)
            if sent <= 0:
                sender.lost(next(to.name for last, to in held if at < last))
                sent = 1
            at += sent
        held.clear()
        self._start = self._end = 0

    def forget(self, sender: Any) -> None:
        """C{sender} is about to close."""
        if self._sender is sender:
            self.flush()
            self._sender = None
