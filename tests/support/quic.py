"""A QUIC server and a QUIC client of aioquic's, on sockets of their own and without asyncio."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

from aioquic.buffer import Buffer
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicProtocolVersion, pull_quic_header
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.case import PmmuxCase

LARGEST_OCTETS = 65536
TURN_SECONDS = 0.02
ANSWER_SECONDS = 5.0
ID_OCTETS = 8
PROTOCOL = "echo"


def make_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """A certificate for C{name}, and its key, in files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = directory / f"{name}.pem", directory / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


class QuicServer:
    """
    Answers what a stream brings with its own name and the same, in a thread of its own.

    @ivar peers: the addresses it was written to from.
    """

    def __init__(self, case: PmmuxCase, name: str) -> None:
        certificate, key = make_certificate(case.directory, name)
        self._name = name.encode()
        self._configuration = QuicConfiguration(
            is_client=False, alpn_protocols=[PROTOCOL], connection_id_length=ID_OCTETS
        )
        self._configuration.load_cert_chain(certificate, key)
        self._connections: dict[bytes, QuicConnection] = {}
        self.peers: set[Any] = set()
        # One stream at a time.
        self._begun = False
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.settimeout(TURN_SECONDS)
        self.port: int = self._sock.getsockname()[1]
        self._running = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        case.addCleanup(self._stop)
        self._thread.start()

    def _stop(self) -> None:
        self._running = False
        self._thread.join()
        self._sock.close()

    def _serve(self) -> None:
        while self._running:
            with contextlib.suppress(TimeoutError):
                self._take(*self._sock.recvfrom(LARGEST_OCTETS))
            for connection in set(self._connections.values()):
                self._advance(connection)

    def _take(self, octets: bytes, peer: Any) -> None:
        self.peers.add(peer)
        header = pull_quic_header(Buffer(data=octets), host_cid_length=ID_OCTETS)
        connection = self._connections.get(header.destination_cid)
        if connection is None:
            connection = QuicConnection(
                configuration=self._configuration,
                original_destination_connection_id=header.destination_cid,
            )
            self._connections[header.destination_cid] = connection
            self._connections[connection.host_cid] = connection
        connection.receive_datagram(octets, peer, time.monotonic())

    def _advance(self, connection: QuicConnection) -> None:
        now = time.monotonic()
        due_at = connection.get_timer()
        if due_at is not None and due_at <= now:
            connection.handle_timer(now)
        while (event := connection.next_event()) is not None:
            if isinstance(event, events.ConnectionIdIssued):
                self._connections[event.connection_id] = connection
            elif isinstance(event, events.StreamDataReceived):
                answer = event.data if self._begun else self._name + b": " + event.data
                self._begun = not event.end_stream
                connection.send_stream_data(event.stream_id, answer, event.end_stream)
        for octets, peer in connection.datagrams_to_send(now):
            self._sock.sendto(octets, peer)


class QuicClient:
    """A client of the test's own; it does something while it is asked to."""

    def __init__(
        self,
        case: PmmuxCase,
        port: int,
        name: str,
        more_protocols: tuple[str, ...] = (),
        version_2: bool = False,
    ) -> None:
        """@param more_protocols: offered besides, which makes the hello long."""
        configuration = QuicConfiguration(
            is_client=True,
            server_name=name,
            alpn_protocols=[PROTOCOL, *more_protocols],
            verify_mode=ssl.CERT_NONE,
        )
        if version_2:
            configuration.original_version = QuicProtocolVersion.VERSION_2
            configuration.supported_versions = [QuicProtocolVersion.VERSION_2]
        self._server = ("127.0.0.1", port)
        self._case = case
        self._connection = QuicConnection(configuration=configuration)
        self._sock = self._open()
        self._connection.connect(self._server, time.monotonic())
        self._answer = b""

    def _open(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._case.addCleanup(sock.close)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(TURN_SECONDS)
        return sock

    def move(self) -> None:
        """Go on from another port, as behind a NAT that forgot."""
        self._sock.close()
        self._sock = self._open()

    def ask(self, octets: bytes) -> bytes:
        """Send C{octets} on a stream of their own. @return: what the server made of them."""
        self._answer = b""
        self._connection.send_stream_data(
            self._connection.get_next_available_stream_id(), octets, end_stream=True
        )
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self._answer.endswith(octets):
            if time.monotonic() > deadline:
                raise AssertionError(f"no answer to {octets[:20]!r}")
            self._advance()
        return self._answer

    def _advance(self) -> None:
        now = time.monotonic()
        due_at = self._connection.get_timer()
        if due_at is not None and due_at <= now:
            self._connection.handle_timer(now)
        for octets, _ in self._connection.datagrams_to_send(now):
            self._sock.sendto(octets, self._server)
        with contextlib.suppress(TimeoutError):
            octets, peer = self._sock.recvfrom(LARGEST_OCTETS)
            self._connection.receive_datagram(octets, peer, time.monotonic())
        while (event := self._connection.next_event()) is not None:
            if isinstance(event, events.StreamDataReceived):
                self._answer += event.data
            elif isinstance(event, events.ConnectionTerminated):
                raise AssertionError(f"it ended: {event.reason_phrase or event.error_code}")
