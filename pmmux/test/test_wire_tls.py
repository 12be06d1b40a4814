"""The ClientHello parser, the reassembly of TLS records, and JA4."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pmmux.test import hellos
from pmmux.wire.ja4 import TRANSPORT_DTLS, TRANSPORT_QUIC, compute_ja4
from pmmux.wire.tls import (
    HELLO_LIMIT_OCTETS,
    RECORD_LIMIT_OCTETS,
    ClientHello,
    Incomplete,
    Malformed,
    highest_version,
    parse_client_hello_body,
    read_client_hello,
    version_name,
)

MESSAGE = hellos.handshake(hellos.body())


class BodyTests(SynchronousTestCase):
    def parse(self, octets: bytes, has_cookie: bool = False) -> ClientHello:
        found = parse_client_hello_body(octets, has_cookie=has_cookie)
        assert isinstance(found, ClientHello), found
        return found

    def name_of(self, name: bytes | str) -> str | None:
        return self.parse(hellos.body([hellos.server_name(name)])).server_name

    def refuse(self, octets: bytes, reason: str) -> None:
        self.assertEqual(parse_client_hello_body(octets), Malformed(reason))

    def test_all_that_is_offered(self) -> None:
        found = self.parse(hellos.body())
        self.assertEqual(found.server_name, "shop.example.org")
        self.assertEqual(found.alpn, (b"h2", b"http/1.1"))
        self.assertEqual(found.versions, (0x0304, 0x0303))
        self.assertEqual(found.legacy_version, 0x0303)
        self.assertEqual(found.extension_types, (0x00, 0x10, 0x0D, 0x2B))
        self.assertEqual(found.cipher_suite_octets, hellos.numbers(hellos.CIPHER_SUITES))
        self.assertEqual(found.signature_algorithm_octets, hellos.numbers(hellos.SIGNATURE_ALGORITHMS))
        self.assertFalse(found.has_ech)

    def test_without_extensions(self) -> None:
        for octets in (b"", b"\x00\x00"):
            found = self.parse(hellos.body(extensions_octets=octets, version=0x0301))
            self.assertEqual((found.server_name, found.alpn, found.versions), (None, (), (0x0301,)))

    def test_body_inside_other_octets(self) -> None:
        body = hellos.body()
        found = parse_client_hello_body(b"\xff" * 7 + body + b"\xff" * 9, 7, 7 + len(body))
        self.assertEqual(found, self.parse(body))

    def test_cookie_of_dtls(self) -> None:
        for cookie in (b"", b"c", bytes(255)):
            found = self.parse(hellos.body(cookie=cookie, version=0xFEFD), has_cookie=True)
            self.assertEqual(found.server_name, "shop.example.org")

    def test_encrypted_client_hello(self) -> None:
        self.assertTrue(self.parse(hellos.body([hellos.encrypted_client_hello()])).has_ech)

    def test_grease_is_no_offer(self) -> None:
        found = self.parse(
            hellos.body(
                [
                    hellos.extension(0x0A0A),
                    hellos.supported_versions(0xFAFA, 0x0304),
                    hellos.alpn(b"\x0a\x0a", b"h2"),
                ]
            )
        )
        self.assertEqual((found.versions, found.alpn), ((0x0304,), (b"h2",)))

    def test_nothing_but_grease_versions(self) -> None:
        found = self.parse(hellos.body([hellos.supported_versions(0x0A0A)]))
        self.assertEqual(found.versions, (0x0303,))

    def test_names(self) -> None:
        longest = ".".join(["a" * 49] * 5)[:-1] + "wxyz"
        self.assertEqual(len(longest), 252)
        for sent, expected in (
            ("SHOP.Example.ORG", "shop.example.org"),
            ("shop.example.org.", "shop.example.org"),
            ("localhost", "localhost"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("_x.xn--bcher-kva.example", "_x.xn--bcher-kva.example"),
            (longest + "1", longest + "1"),
            (longest + "1.", longest + "1"),
        ):
            self.assertEqual(self.name_of(sent), expected)

    def test_names_of_another_type_are_not_host_names(self) -> None:
        found = self.parse(hellos.body([hellos.server_name("a", "b", name_type=7)]))
        self.assertIsNone(found.server_name)

    def test_broken_names(self) -> None:
        controls = "a server name with control octets or spaces"
        for name, reason in (
            (b"", "an empty server name"),
            (b".", "an empty server name"),
            (b"a..b", "a server name with an empty label"),
            (b".a", "a server name with an empty label"),
            (b"a..", "a server name with an empty label"),
            (b"shop\x00.example.org", controls),
            (b"\x1b[31mshop", controls),
            (b"shop\r\n", controls),
            (b"a b", controls),
            (b"a\x7f", controls),
            ("b\u00fccher.example".encode(), "a server name with octets outside ASCII"),
            (b"a" * 254, "a server name longer than 253 octets"),
            (b"a" * 60_000, "a server name longer than 253 octets"),
        ):
            self.refuse(hellos.body([hellos.server_name(name)]), reason)

    def test_broken_lists(self) -> None:
        for extension, reason in (
            (hellos.server_name(), "an empty server name list"),
            (hellos.server_name("a", "b"), "several server names"),
            (hellos.server_name("a", "a"), "several server names"),
            (hellos.extension(0), "the server name list's length does not agree with its extension's"),
            (
                hellos.extension(0, b"\x00\x05\x00\x00\x01a"),
                "the server name list's length does not agree with its extension's",
            ),
            (hellos.extension(0, b"\x00\x04\x00\x00\x02a"), "a server name overruns its list"),
            (hellos.extension(0, b"\x00\x02\x00\x00"), "the server name list ends inside an entry"),
            (hellos.alpn(), "an empty ALPN list"),
            (hellos.alpn(b"h2", b""), "an empty ALPN name"),
            (hellos.extension(0x10, b"\x00\x02\x02h"), "an ALPN name overruns its list"),
            (hellos.extension(0x10, b"\x00"), "the ALPN list's length does not agree with its extension's"),
        ):
            self.refuse(hellos.body([extension]), reason)
        for content in (b"", b"\x00", b"\x01\x03", b"\x03\x03\x04\x03", b"\x04\x03\x04"):
            self.refuse(
                hellos.body([hellos.extension(0x2B, content)]),
                "the list of supported versions is empty or of a wrong length",
            )
        for content in (b"", b"\x00\x00", b"\x00\x01\x04", b"\x00\x04\x04\x03"):
            self.refuse(
                hellos.body([hellos.extension(0x0D, content)]),
                "the list of signature algorithms is empty or of a wrong length",
            )

    def test_broken_fields(self) -> None:
        body = hellos.body(extensions_octets=b"")
        for octets, reason in (
            (body[:34], "the ClientHello ends inside its version and random"),
            (body[:35], "the ClientHello ends before its cipher suites"),
            (hellos.body(session_id=bytes(33)), "a session id longer than 32 octets"),
            (hellos.body(cipher_suites=b""), "a list of cipher suites of zero or odd length"),
            (hellos.body(cipher_suites=b"abc"), "a list of cipher suites of zero or odd length"),
            (body[:-2], "the cipher suites overrun the ClientHello"),
            (hellos.body(compressions=b""), "an empty list of compression methods"),
            (body[:-1], "the compression methods overrun the ClientHello"),
            (body + b"\x00", "the extensions' length does not agree with the ClientHello's"),
            (hellos.body() + b"\x00", "the extensions' length does not agree with the ClientHello's"),
            (hellos.body()[:-1], "the extensions' length does not agree with the ClientHello's"),
            (body + hellos.sized(b"\x00\x17\x00"), "an extension overruns the ClientHello"),
            (body + hellos.sized(b"\x00\x17\x00\x01"), "an extension overruns the ClientHello"),
        ):
            self.refuse(octets, reason)
        for extension in (hellos.server_name("a"), hellos.extension(0x4469), hellos.alpn(b"h2")):
            self.refuse(hellos.body([extension, extension]), "an extension sent twice")

    def test_no_cut_off_body_is_parsed_or_raises(self) -> None:
        for cookie in (None, b"cookie"):
            body = hellos.body(cookie=cookie)
            for end in range(len(body)):
                found = parse_client_hello_body(body, 0, end, has_cookie=cookie is not None)
                # Without its extensions it is a whole one, of an older version.
                if end != body.index(hellos.sized(b"".join(hellos.default_extensions()))):
                    self.assertIsInstance(found, Malformed, end)

    @settings(deadline=None, max_examples=200)
    @given(st.data())
    def test_changed_octets_never_raise(self, data: st.DataObject) -> None:
        body = bytearray(hellos.body())
        for _ in range(data.draw(st.integers(1, 4))):
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        for has_cookie in (False, True):
            found = parse_client_hello_body(bytes(body), has_cookie=has_cookie)
            self.assertIsInstance(found, (ClientHello, Malformed))


class RecordTests(SynchronousTestCase):
    def check_every_prefix(self, octets: bytes, end: int) -> None:
        """
        Of the hello that takes C{end} of C{octets}, each prefix asks for more, never for too many,
        and never for less than it asked for before.
        """
        whole = read_client_hello(octets)
        self.assertIsInstance(whole, ClientHello)
        asked = 0
        for length in range(end):
            found = read_client_hello(octets[:length])
            assert isinstance(found, Incomplete), (length, found)
            self.assertEqual(found.is_certain, length > 5)
            self.assertTrue(length < found.octets_needed <= end, (length, found))
            self.assertGreaterEqual(found.octets_needed, asked)
            asked = found.octets_needed
        for length in range(end, len(octets) + 1):
            self.assertEqual(read_client_hello(octets[:length]), whole)

    def test_one_record(self) -> None:
        octets = hellos.records(MESSAGE)
        self.check_every_prefix(octets + b"\x17\x00anything", len(octets))

    def test_many_records(self) -> None:
        for fragment_octets in (1, 2, 3, 4, 5, 100, len(MESSAGE) - 1):
            octets = hellos.records(MESSAGE, fragment_octets)
            self.check_every_prefix(octets + b"\x17", len(octets))

    def test_hello_before_other_messages_in_its_record(self) -> None:
        octets = hellos.record(MESSAGE + b"more")
        self.check_every_prefix(octets, len(octets) - len(b"more"))

    def test_all_ways_to_cut_are_one(self) -> None:
        whole = read_client_hello(hellos.records(MESSAGE))
        for fragment_octets in range(1, len(MESSAGE) + 1):
            self.assertEqual(read_client_hello(hellos.records(MESSAGE, fragment_octets)), whole)

    def test_needed_is_exact_within_one_record(self) -> None:
        octets = hellos.records(MESSAGE)
        for length in range(9, len(octets)):
            self.assertEqual(read_client_hello(octets[:length]), Incomplete(len(octets), True))

    def test_few_looks_at_one_octet_records(self) -> None:
        # Whoever waits for the octets asked for must not reassemble at each of them.
        octets = hellos.records(hellos.handshake(hellos.body([hellos.padding(4_000)])), 1)
        looks = 0
        found = read_client_hello(b"")
        while isinstance(found, Incomplete):
            found = read_client_hello(octets[: found.octets_needed])
            looks += 1
        self.assertIsInstance(found, ClientHello)
        self.assertLess(looks, 80)

    def test_large_hellos(self) -> None:
        for octets in (2_000, 11_418, 2**14, 2**14 + 1, 30_000, 60_000):
            sent = hellos.client_hello_of(octets)
            found = read_client_hello(sent)
            assert isinstance(found, ClientHello), found
            self.assertEqual(found.server_name, "shop.example.org")
            self.assertIsInstance(read_client_hello(sent[:-1]), Incomplete)

    def test_too_large_a_hello(self) -> None:
        header = b"\x16\x03\x01\x40\x00\x01"
        largest = read_client_hello(header + HELLO_LIMIT_OCTETS.to_bytes(3, "big"))
        self.assertIsInstance(largest, Incomplete)
        for octets in (HELLO_LIMIT_OCTETS + 1, 2**24 - 1):
            self.assertEqual(
                read_client_hello(header + octets.to_bytes(3, "big")),
                Malformed("a ClientHello longer than 65,536 octets"),
            )

    def test_record_versions(self) -> None:
        for minor in range(5):
            found = read_client_hello(hellos.record(MESSAGE, version=0x0300 + minor))
            self.assertIsInstance(found, ClientHello)
        for version in (0x0305, 0x0200, 0x0403, 0xFEFD):
            self.assertIsNone(read_client_hello(hellos.record(MESSAGE, version=version)))

    def test_impossible_record_lengths(self) -> None:
        reason = Malformed("a TLS record of impossible length")
        longest = b"\x16\x03\x01" + RECORD_LIMIT_OCTETS.to_bytes(2, "big") + MESSAGE
        self.assertIsInstance(read_client_hello(longest), ClientHello)
        for octets in (
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01" + (RECORD_LIMIT_OCTETS + 1).to_bytes(2, "big"),
            b"\x16\x03\x01" + (RECORD_LIMIT_OCTETS + 1).to_bytes(2, "big") + MESSAGE,
            hellos.record(MESSAGE[:20]) + hellos.record(b""),
            hellos.record(MESSAGE[:20]) + b"\x16\x03\x03\xff\xff",
        ):
            self.assertEqual(read_client_hello(octets), reason)

    def test_another_record_in_the_middle(self) -> None:
        reason = Malformed("another record in the middle of the ClientHello")
        first = hellos.record(MESSAGE[:20])
        for kind in (0x14, 0x15, 0x17, 0x18, 0x00):
            self.assertEqual(read_client_hello(first + bytes((kind,))), reason)
            second = hellos.record(MESSAGE[20:], kind=kind)
            self.assertEqual(read_client_hello(first + second), reason)
        for version in (0x0200, 0x0305):
            self.assertEqual(read_client_hello(first + hellos.record(b"a", version=version)), reason)

    def test_refused_at_the_first_octet_that_cannot_be(self) -> None:
        for octets in (
            b"\x15",
            b"\x80\x2e\x01\x03\x01",
            b"\x16\x02",
            b"\x16\x03\x05",
            hellos.record(hellos.handshake(b"", kind=2)),
            b"\x16\x03\x01\x00\x40\x02",
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            self.assertIsNone(read_client_hello(octets))

    def test_broken_body(self) -> None:
        self.assertIsInstance(read_client_hello(hellos.record(hellos.handshake(b""))), Malformed)
        broken = hellos.handshake(hellos.body([hellos.server_name("a", "b")]))
        for fragment_octets in (1, 50, len(broken)):
            self.assertEqual(
                read_client_hello(hellos.records(broken, fragment_octets)), Malformed("several server names")
            )


class JA4Tests(SynchronousTestCase):
    def compute(self, body: bytes, transport: str = "t") -> str:
        found = parse_client_hello_body(body)
        assert isinstance(found, ClientHello), found
        return compute_ja4(found, transport)

    def test_published_example(self) -> None:
        self.assertEqual(self.compute(hellos.JA4_EXAMPLE_BODY), hellos.JA4_EXAMPLE)

    def test_transports(self) -> None:
        for transport in (TRANSPORT_QUIC, TRANSPORT_DTLS):
            self.assertEqual(
                self.compute(hellos.JA4_EXAMPLE_BODY, transport), transport + hellos.JA4_EXAMPLE[1:]
            )

    def test_extensions_without_signature_algorithms(self) -> None:
        kinds = (0x05, 0x0A, 0x0B, 0x12, 0x15, 0x17, 0x1B, 0x23, 0x2D, 0x33, 0x4469, 0xFF01)
        extensions = [hellos.extension(kind) for kind in kinds]
        # In the published example 000d and 002b are listed too; with their lists the hash differs.
        plain = self.compute(hellos.body(extensions))
        with_names = self.compute(hellos.body([*extensions, hellos.server_name("a"), hellos.alpn(b"h2")]))
        self.assertEqual(plain[:10], "t12i051200")
        self.assertEqual(with_names[:10], "t12d0514h2")
        self.assertEqual(plain[10:], with_names[10:])

    def test_nothing_to_hash(self) -> None:
        only_grease = hellos.body([hellos.extension(0x0A0A)], cipher_suites=b"\x0a\x0a")
        self.assertEqual(self.compute(only_grease), "t12i000000_000000000000_000000000000")

    def test_protocols(self) -> None:
        for name, expected in (
            (b"h2", "h2"),
            (b"http/1.1", "h1"),
            (b"x", "xx"),
            (b"\xab", "ab"),
            (b"\xab\xcd", "ad"),
            (b"\x30\xab", "3b"),
            (b"\x30\x31\xab\xcd", "3d"),
            (b"\x30\xab\xcd\x31", "01"),
        ):
            self.assertEqual(self.compute(hellos.body([hellos.alpn(name)]))[8:10], expected)

    def test_versions(self) -> None:
        for version, expected in (
            (0x0304, "13"),
            (0x0303, "12"),
            (0x0302, "11"),
            (0x0301, "10"),
            (0x0300, "s3"),
            (0x0002, "s2"),
            (0xFEFF, "d1"),
            (0xFEFD, "d2"),
            (0xFEFC, "d3"),
            (0x7F1C, "00"),
        ):
            self.assertEqual(self.compute(hellos.body(version=version, extensions=[]))[1:3], expected)
        listed = hellos.body([hellos.supported_versions(0xFEFD, 0xFEFC)], version=0xFEFD)
        self.assertEqual(self.compute(listed, "d")[:3], "dd3")

    def test_more_than_two_digits_can_count(self) -> None:
        many = [hellos.extension(kind) for kind in range(0x4000, 0x4078)]
        fingerprint = self.compute(hellos.body(many, cipher_suites=bytes(400)))
        self.assertEqual(fingerprint[:10], "t12i999900")


class VersionTests(SynchronousTestCase):
    def highest(self, *versions: int) -> str:
        found = parse_client_hello_body(hellos.body([hellos.supported_versions(*versions)]))
        assert isinstance(found, ClientHello), found
        return version_name(highest_version(found))

    def test_highest(self) -> None:
        self.assertEqual(self.highest(0x0303, 0x0304, 0x0302), "1.3")
        self.assertEqual(self.highest(0x7F1C, 0x0303), "1.2")
        self.assertEqual(self.highest(0x7F1C), "0x7f1c")
        self.assertEqual(self.highest(0xFEFF, 0xFEFC, 0xFEFD), "1.3")
