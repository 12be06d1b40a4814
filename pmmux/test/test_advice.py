"""Advice: each kind on a configuration that deserves it, and none on one that does not."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pmmux.advice import certificates, exposure, health, patterns, reaching, waiting
from pmmux.advice.advice import Advice, Subject
from pmmux.advice.advising import advise
from pmmux.advice.implication import takes_all_of
from pmmux.explain.explaining import explain
from pmmux.explain.flow import Event, Flow, Kind
from pmmux.explain.openings import client_hello
from pmmux.explain.stage import Stage
from pmmux.loading import load_settings
from pmmux.model import Address
from pmmux.test.captures import CLIENT, SERVER

LISTENER = "[listener front]\nport = 8443\n"
PASS = "protocol = pass\ntarget = 127.0.0.1:9"
NOOP = "protocol = noop"
NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)


def backend(name: str, *lines: str) -> str:
    return "\n".join((f"[backend {name}]", *lines, ""))


class AdviceCase(SynchronousTestCase):
    """Loads configurations."""

    def subject(self, *parts: str) -> Subject:
        path = self.mktemp()
        Path(path).write_text("\n".join((LISTENER, *parts)), encoding="utf-8")
        return Subject(*load_settings([], {}, path))

    def one(self, found: list[Advice]) -> Advice:
        self.assertEqual(len(found), 1, found)
        advice = found[0]
        for text in (advice.message, advice.why, advice.instead):
            self.assertTrue(text)
        self.assertIsNotNone(advice.location.line)
        return advice


class ReachingTests(AdviceCase):
    def advise(self, *backends: str) -> list[Advice]:
        return list(reaching.advise(self.subject(*backends)))

    def test_nothing_to_say(self) -> None:
        found = self.advise(
            backend("a", PASS, "sni = a.example.org"),
            backend("b", PASS, "detect = tls"),
            backend("c", PASS, "remote-ip = 10.0.0.0/8", "detect = ssh"),
            backend("d", PASS, "detect = ssh"),
            backend("e", NOOP),
        )
        self.assertEqual(found, [])

    def test_the_same_again(self) -> None:
        advice = self.one(self.advise(backend("a", PASS, "detect = ssh"), backend("b", PASS, "detect = ssh")))
        self.assertEqual((advice.topic, advice.location.section), ("shadowed", "backend b"))
        self.assertIn("a on line 4", advice.message)

    def test_behind_one_that_cannot_fail(self) -> None:
        advice = self.one(self.advise(backend("a", NOOP, "detect = ssh"), backend("b", PASS, "detect = ssh")))
        self.assertEqual(advice.topic, "never-reached")

    def test_broader_before(self) -> None:
        broader_and_narrower = [
            ("sni = *.example.org", "sni = a.example.org"),
            ("sni = a.example.org, b.example.org", "sni = a.example.org"),
            ("detect = tls", "sni = a.example.org"),
            ("detect = tls", "alpn = h2"),
            ("detect = http", "path = /x"),
            ("detect = ssh, tls", "detect = ssh"),
            ("path = .*", "path = /x"),
            ("path = /.*", "path = /x"),
            ("remote-ip = 10.0.0.0/8", "remote-ip = 10.1.0.0/16, 10.2.0.0/16"),
            ("local-port = 8000-9000", "local-port = 8443"),
            ("preview = hex:16", "preview = hex:1603"),
            ("alpn = h2, http/1.1", "alpn = h2"),
            ("remote-ip! = 10.0.0.0/8", "remote-ip! = 10.0.0.0/8\ndetect = ssh"),
        ]
        for broader, narrower in broader_and_narrower:
            advice = self.one(self.advise(backend("a", PASS, broader), backend("b", PASS, narrower)))
            self.assertEqual((advice.topic, advice.location.section), ("shadowed", "backend b"), broader)

    def test_not_broader(self) -> None:
        pairs = [
            ("sni = *.example.org", "sni = example.org"),
            ("sni = *.example.org", "sni = a.b.example.org"),
            ("detect = ssh", "detect = ssh, tls"),
            ("sni = a.example.org", "detect = tls"),
            ("remote-ip = 10.0.0.0/16", "remote-ip = 10.0.0.0/8"),
            ("remote-ip = 10.0.0.0/8", "local-ip = 10.0.0.0/8"),
            ("remote-ip = ::/0", "remote-ip = 10.0.0.0/8"),
            ("detect = ssh\nremote-ip = 10.0.0.0/8", "detect = ssh"),
            ("remote-ip! = 10.0.0.0/8", "remote-ip = 10.0.0.0/8"),
            ("preview = hex:1603", "preview = hex:16"),
            ("path = /a.*", "path = /b.*"),
        ]
        for first, second in pairs:
            self.assertEqual(self.advise(backend("a", PASS, first), backend("b", PASS, second)), [], first)

    def test_catch_all_in_the_middle_is_told_once(self) -> None:
        advice = self.one(
            self.advise(
                backend("a", PASS),
                backend("b", PASS, "detect = ssh"),
                backend("c", PASS, "detect = tls"),
            )
        )
        self.assertEqual((advice.topic, advice.location.section), ("catch-all", "backend a"))
        self.assertIn("b, c", advice.message)

    def test_what_stands_in_is_meant(self) -> None:
        for conditions in ((), ("detect = ssh",)):
            for second in ((NOOP,), ("protocol = http-response",), (PASS, "priority = standby")):
                found = self.advise(backend("a", PASS, *conditions), backend("b", *second, *conditions))
                self.assertEqual(found, [], second)
        # Not for what it narrows down, and not behind one that cannot fail.
        for first, second in (
            (backend("a", PASS, "detect = http"), backend("b", NOOP, "path = /x")),
            (backend("a", NOOP, "detect = ssh"), backend("b", NOOP, "detect = ssh")),
        ):
            self.one(self.advise(first, second))

    def test_tiers_have_no_order(self) -> None:
        subject = self.subject(
            "[pmmux]\nrouting-strategy = least-requests", backend("a", PASS), backend("b", PASS)
        )
        self.assertEqual(list(reaching.advise(subject)), [])

    def test_what_cannot_be_true(self) -> None:
        for lines in (
            "detect = ssh\nsni = a.example.org",
            "detect = tls\ndetect! = tls",
            "local-port = 999",
            "detect = wireguard",
        ):
            advice = self.one(self.advise(backend("a", PASS, lines)))
            self.assertEqual(advice.topic, "never-reached", lines)

    def test_terminated_tls_may_hold_anything(self) -> None:
        subject = self.subject(
            "[tls]\ngenerate-certificates = true", backend("a", PASS, "detect = http\nsni = a.example.org")
        )
        self.assertEqual(list(reaching.advise(subject)), [])

    def test_no_listener_for_it(self) -> None:
        path = self.mktemp()
        config = "[listener d]\nport = 1\nprotocol = udp\n" + backend("page", "protocol = http-response")
        Path(path).write_text(config, encoding="utf-8")
        advice = self.one(list(reaching.advise(Subject(*load_settings([], {}, path)))))
        self.assertEqual(advice.topic, "never-reached")

    @given(
        st.sampled_from(["a.example.org", "b.example.org", "*.example.org", "*.a.example.org"]),
        st.sampled_from(["a.example.org", "b.example.org", "*.example.org", "*.a.example.org"]),
        st.sampled_from(["a.example.org", "b.example.org", "x.a.example.org"]),
    )
    @settings(max_examples=20, deadline=None)
    def test_what_is_called_broader_takes_all_of_it(self, broad: str, narrow: str, name: str) -> None:
        subject = self.subject(backend("a", PASS, f"sni = {narrow}"), backend("b", PASS, f"sni = {broad}"))
        narrow_rule, broad_rule = subject.rules()
        if takes_all_of(broad_rule.condition, narrow_rule.condition, reaching.providers_of(subject)):
            flow = Flow(1, "tcp", CLIENT, SERVER, 0.0, [Event(0.0, Kind.OCTETS, client_hello(name))])
            with_narrow, with_broad = (
                explain(Stage(each.settings, each.registry), [flow])[0].backend
                for each in (
                    self.subject(backend("a", PASS, f"sni = {narrow}")),
                    self.subject(backend("a", PASS, f"sni = {broad}")),
                )
            )
            self.assertTrue(with_broad or not with_narrow)


class WaitingTests(AdviceCase):
    mail = ("protocol = pass", "target = 127.0.0.1:25")

    def test_behind_rules_on_content(self) -> None:
        subject = self.subject(
            "[pmmux]\ndetect-timeout = 2s", backend("a", PASS, "detect = ssh"), backend("mail", *self.mail)
        )
        advice = self.one(list(waiting.advise(subject)))
        self.assertIn("waits 2 s", advice.why)
        self.assertIn("SMTP", advice.message)

    def test_it_is_so(self) -> None:
        subject = self.subject(backend("a", PASS, "detect = ssh"), backend("mail", *self.mail))
        (found,) = explain(
            Stage(subject.settings, subject.registry), [Flow(1, "tcp", CLIENT, Address("10.0.0.1", 25), 0.0)]
        )
        self.assertEqual((found.backend, found.waited_seconds), ("mail", 3.0))

    def test_before_them_or_apart_from_them(self) -> None:
        for backends in (
            (backend("mail", *self.mail, "remote-ip = 10.0.0.0/8"), backend("a", PASS, "detect = ssh")),
            (
                backend("a", PASS, "detect = ssh", "remote-ip = 192.0.2.0/24"),
                backend("mail", *self.mail, "remote-ip = 10.0.0.0/8"),
            ),
            (
                backend("a", PASS, "detect = ssh", "local-port! = 25"),
                backend("mail", *self.mail, "local-port = 25"),
            ),
        ):
            self.assertEqual(list(waiting.advise(self.subject(*backends))), [])

    def test_conditions_on_what_is_never_said(self) -> None:
        advice = self.one(list(waiting.advise(self.subject(backend("mail", *self.mail, "preview = EHLO")))))
        self.assertIn("no client of SMTP ever gets to mail", advice.why)


class PatternTests(AdviceCase):
    def test_dots_and_loose_ends(self) -> None:
        cases = {
            "host = a.example.org": r"host = a\.example\.org",
            r"host = .*\.?example\.org": "",
            "host = .*example.org": r"host = (.*\.)?example\.org",
            r"host = .+example\.org": r"host = (.*\.)?example\.org",
            r"host = a\.example\.org": "",
            "host = localhost": "",
            "path = /a.b": "",
            "property[tls.sni] = a.example.org": r"property[tls.sni] = a\.example\.org",
        }
        for line, instead in cases.items():
            found = list(patterns.advise(self.subject(backend("a", PASS, line))))
            self.assertEqual([advice.instead for advice in found], [instead] if instead else [], line)
            for advice in found:
                self.assertEqual(advice.location.line, 7)


class ExposureTests(AdviceCase):
    def test_management(self) -> None:
        for place, count in (("0.0.0.0:9999", 1), ("[::]:9999", 1), ("127.0.0.1:9999", 0), ("9999", 0)):
            subject = self.subject(
                f"[pmmux]\ncontrol-listen = {place}\ncontrol-token = {'x' * 20}", backend("a", NOOP)
            )
            self.assertEqual([each.topic for each in exposure.advise(subject)], ["management-open"] * count)

    def test_proxies(self) -> None:
        for network, count in (
            ("0.0.0.0/0", 1),
            ("::/0", 1),
            ("0.0.0.0/1, 128.0.0.0/1", 1),
            ("10.0.0.0/8, fd00::/16", 0),
            ("192.0.2.1", 0),
        ):
            subject = self.subject(
                f"proxy-protocol = use\nproxy-protocol-from = {network}", backend("a", NOOP)
            )
            self.assertEqual([each.topic for each in exposure.advise(subject)], ["proxy-from-anyone"] * count)

    def test_loops(self) -> None:
        for target, count in (
            ("127.0.0.1:8443", 1),
            ("localhost:8443", 1),
            ("[::1]:8443", 1),
            ("127.0.0.1:8444", 0),
            ("192.0.2.1:8443", 0),
            ("unix:/run/x", 0),
        ):
            subject = self.subject(backend("a", "protocol = pass", f"target = {target}"))
            self.assertEqual([each.topic for each in exposure.advise(subject)], ["loop"] * count, target)

    def test_bound_elsewhere(self) -> None:
        subject = self.subject("bind = 127.0.0.2", backend("a", "protocol = pass", "target = 127.0.0.1:8443"))
        self.assertEqual(list(exposure.advise(subject)), [])


class HealthTests(AdviceCase):
    def test_nothing_to_check(self) -> None:
        advice = self.one(list(health.advise(self.subject(backend("a", NOOP), "[health-check c]"))))
        self.assertIn("answer by themselves", advice.message)

    def test_no_backend_of_that_kind(self) -> None:
        advice = self.one(
            list(health.advise(self.subject(backend("a", NOOP), "[health-check c]\nprotocol = pass")))
        )
        self.assertIn("no backend of the protocol pass", advice.message)

    def test_another_is_nearer(self) -> None:
        subject = self.subject(
            backend("a", PASS), "[health-check c]\nprotocol = pass", "[health-check d]\nbackend = a"
        )
        advice = self.one(list(health.advise(subject)))
        self.assertEqual(advice.location.section, "health-check c")

    def test_takes_whatever_the_server_answers(self) -> None:
        for lines, count in (
            ("type = http\nstatus = 100-599", 1),
            ("type = http\nstatus = 200-299, 503", 0),
            ("type = tcp\nsend = PING", 1),
            ("type = tcp\nsend = PING\nexpect = PONG", 0),
        ):
            subject = self.subject(backend("a", PASS), f"[health-check c]\nbackend = a\n{lines}")
            self.assertEqual(len(list(health.advise(subject))), count, lines)

    def test_in_order(self) -> None:
        subject = self.subject(backend("a", PASS), backend("b", NOOP), "[health-check c]")
        self.assertEqual(list(health.advise(subject)), [])


class CertificateTests(AdviceCase):
    def certificate(self, days: int) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example.org")])
        begins = NOW - datetime.timedelta(days=400)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(begins)
            .not_valid_after(NOW + datetime.timedelta(days=days, hours=1))
            .sign(key, hashes.SHA256())
        )
        path = self.mktemp()
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        Path(path).write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
        return str(Path(path).absolute())

    def advise(self, days: int) -> list[Advice]:
        subject = self.subject(f"[certificate c]\npath = {self.certificate(days)}", backend("a", NOOP))
        return list(certificates.advise(subject, NOW))

    def test_soon(self) -> None:
        self.assertIn("expires in 10 days, on 2026-06-11", self.one(self.advise(10)).message)

    def test_over(self) -> None:
        self.assertIn("expired 2026-05-22", self.one(self.advise(-10)).message)

    def test_not_yet(self) -> None:
        self.assertEqual(self.advise(90), [])


class AllTests(AdviceCase):
    def test_in_the_order_of_lines(self) -> None:
        subject = self.subject(
            backend("a", PASS, "host = a.example.org"),
            backend("loop", "protocol = pass", "target = localhost:8443"),
            backend("c", NOOP, "detect = ssh"),
        )
        found = advise(subject.settings, subject.registry)
        lines = [each.location.line for each in found]
        self.assertEqual(lines, sorted(lines))
        self.assertEqual([each.topic for each in found], ["pattern", "catch-all", "loop"])
