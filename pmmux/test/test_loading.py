"""Settings are loaded against what is registered, and all that is wrong is said at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pmmux.config.load import load
from pmmux.errors import ConfigurationError, Fault
from pmmux.loading import load_settings, schema_of
from pmmux.model import BackendSpec
from pmmux.test.doubles import builtin_registry

RIGHT = """
[listener front]
bind = 127.0.0.1
port = 8443

[backend ssh]
protocol = pass
target = 127.0.0.1:22
detect = ssh

[backend rest]
protocol = noop
"""

WRONG = """
[pmmux]
routing-strategy = first-avalable
negotiators = sokcet

[listener front]
port = many

[backend a]
protocol = pas

[backend b]
protocol = pass

[backend c]
protocol = pass
target = 127.0.0.1:22
detect = shh
preview = a(?=b)

[backend e]
protocol = pass
target = 127.0.0.1:22
target.port = 22

[backend d]
protocol = http-response
response.header[bad name] = x
response.header[Content-Length] = 7
"""


class LoadTests(SynchronousTestCase):
    def write(self, text: str) -> str:
        path = Path(self.mktemp()).with_suffix(".ini")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def faults(self, text: str | None, *overrides: tuple[str, str]) -> str:
        path = None if text is None else self.write(text)
        return str(self.assertRaises(ConfigurationError, load_settings, overrides, {}, path))

    def test_right(self) -> None:
        settings, registry = load_settings((), {}, self.write(RIGHT))
        self.assertEqual([backend.name for backend in settings.backends], ["ssh", "rest"])
        self.assertEqual(settings.listeners[0].port, 8443)
        self.assertTrue(registry.probes("tcp"))

    def test_command_line_only(self) -> None:
        settings, _ = load_settings([("port-bindings", "8443:8443:tcp")], {}, None)
        self.assertEqual(settings.listeners[0].port, 8443)

    def test_all_faults_at_once(self) -> None:
        text = self.faults(WRONG)
        for expected in (
            "did you mean 'first-available'?",
            "did you mean 'socket'?",
            "[listener front] port",
            "did you mean 'pass'?",
            "[backend b]: target is missing",
            "target says it already",
            "shh",
            "[backend c] preview",
            "'bad name' is not a header name",
            "Content-Length is set by pmmux itself",
        ):
            self.assertIn(expected, text)

    def test_whole_configuration_is_checked_beside_other_faults(self) -> None:
        text = self.faults(
            "[pmmux]\nidle-timeot = 5s\n[listener a]\nport = x\n"
            "[certificate shop]\npath = /nowhere\n[nat]\nprotocol = pcq\n"
        )
        for expected in (
            "did you mean 'idle-timeout'?",
            "[listener a] port",
            "[certificate shop] path: /nowhere: No such file",
            "did you mean 'pcp'?",
        ):
            self.assertIn(expected, text)

    def test_what_goes_with_what_is_checked_beside_other_faults(self) -> None:
        text = self.faults(
            "[listener a]\nport = 1\nproxy-protocol = use\n"
            "[backend d]\nprotocol = http-response\nresponse.status = 99\nresponse.header[bad name] = x\n"
            "[backend e]\nprotocol = pass\ntarget = nowhere\n"
            "[backend f]\nprotocol = pass\ntarget = 127.0.0.1\ntarget.port = 22\n"
            "[health-check d]\ntype = htp\ninterval = soon\n"
        )
        for expected in (
            "proxy-protocol-from",
            "response.status: bad value '99'",
            "'bad name' is not a header name",
            "there is no kind of check 'htp'; expected one of connect, dns, exec, http, none, tcp, tls, udp; "
            "did you mean 'http'?",
            "interval: bad value 'soon'",
        ):
            self.assertIn(expected, text)
        # Not missing, but wrong.
        self.assertNotIn("missing", text)

    def test_the_nearest_word(self) -> None:
        text = self.faults(
            "[pmmux]\nverbosity = warnin\nmux-only = ture\n"
            "[backend d]\nprotocol = pass\ntarget = [::1]:1\ndetect = http, shh\npriority = norml\n"
            "[listener a]\nport = 1\nprotocol = tpc\n"
        )
        for word in ("warning", "true", "ssh", "normal", "tcp"):
            self.assertIn(f"did you mean {word!r}?", text)

    def test_a_validator_that_misses_something(self) -> None:
        # An extension's, written for sections whose single options are right.
        schema = schema_of(builtin_registry())

        def validate(spec: BackendSpec) -> Sequence[Fault]:
            return spec.options.get("target").nowhere  # type: ignore[no-any-return]

        schema = evolve(schema, validators={**schema.validators, "pass": validate})
        text = "[backend d]\nprotocol = pass\ntarget = nowhere\n[backend f]\nprotocol = pas\n"
        path = self.write(text)
        error = self.assertRaises(ConfigurationError, load, (), {}, path, schema)
        self.assertEqual(len(error.faults), 2, str(error))

    def test_defer_accept(self) -> None:
        # At once, and at the end of the time to detect.
        for rule, is_right in (
            ("detect = ssh", True),
            ("detect = ssh\nlocal-port = 22", True),
            ("local-port = 22", False),
            ("detect! = ssh", False),
            ("preview = (x.*)?", False),
        ):
            text = (
                "[pmmux]\ndefer-accept = true\n[listener a]\nport = 1\n"
                f"[backend b]\nprotocol = noop\n{rule}\n"
            )
            if is_right:
                load_settings((), {}, self.write(text))
                continue
            (fault,) = self.assertRaises(ConfigurationError, load_settings, (), {}, self.write(text)).faults
            self.assertEqual(fault.location.section, "backend b", rule)
            self.assertIn("clients that say nothing, and defer-accept holds them back", fault.message)
            load_settings((), {}, self.write(text.replace("true", "false")))

    def test_defer_accept_is_checked_beside_other_faults(self) -> None:
        text = self.faults(
            "[pmmux]\ndefer-accept = true\nidle-timeot = 5s\n[listener a]\nport = x\n"
            "[backend b]\nprotocol = noop\n"
            "[backend c]\nprotocol = noop\ndetct = ssh\n"
            "[backend d]\nprotocol = noop\ndetect = shh\n"
        )
        self.assertIn("[backend b]: it can be reached by clients that say nothing", text)
        # Those that were meant to ask for octets are not told to.
        self.assertEqual(text.count("say nothing"), 1, text)

    def test_no_listener(self) -> None:
        self.assertIn("there is no listener", self.faults("[backend rest]\nprotocol = noop\n"))
        self.assertIn("there is no listener", self.faults(None))

    def test_missing_extension(self) -> None:
        text = self.faults("[pmmux]\nextensions = nosuch\n" + RIGHT)
        self.assertIn("plugin nosuch: not installed", text)
        self.assertIn("[pmmux] extensions", text)

    def test_schema_has_what_is_registered(self) -> None:
        schema = schema_of(builtin_registry())
        self.assertLessEqual({"pass", "noop", "http-response"}, set(schema.backend_protocols))
        self.assertIn("first-available", schema.known_names["routing-strategy"])
        self.assertIn("detect", [option.name for option in schema.standard_backend_options])
