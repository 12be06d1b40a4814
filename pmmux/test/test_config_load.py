"""All sources together: precedence, merging, typed settings, and every fault at once."""

from __future__ import annotations

import itertools
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.trial import unittest

from pmmux.config import values
from pmmux.config.load import load, wanted_extensions
from pmmux.config.options import Option, SectionSchema
from pmmux.config.schema import Schema, core_sections
from pmmux.config.settings import ListenerSpec, Settings
from pmmux.config.values import Target
from pmmux.errors import ConfigurationError, Fault
from pmmux.model import OptionKey


def fail_to_read(text: str) -> str:
    raise TypeError("a broken extension")


SCHEMA = Schema(
    sections={
        **core_sections(),
        "certificate": SectionSchema(
            "certificate",
            True,
            (
                Option("path", values.text, "a path", required=True),
                Option("password", values.integer(1, 2), "1 or 2"),
                Option("broken", fail_to_read, "nothing"),
            ),
        ),
        "metrics": SectionSchema("metrics", False, (Option("port", values.port, "a port number", 9100),)),
    },
    backend_protocols={
        "pass": (
            Option("target", values.target, "host:port"),
            Option("target.ip", values.address, "an IP address"),
            Option("target.port", values.port, "a port number"),
        ),
        "noop": (),
        "http-response": (Option("response.body", values.any_text, "text", required=True),),
    },
    standard_backend_options=(
        Option("remote-ip", values.network, "an address or network", negatable=True, multiple=True),
        Option("property", values.text, "text", keyed=True, negatable=True, multiple=True),
        Option("priority", values.choice("vip", "normal"), "vip or normal", "normal"),
    ),
    check_protocols={"pass": (), "http-response": (Option("path", values.text, "a path", "/"),)},
    known_names={"routing-strategy": ("first-available", "least-requests")},
)

INI = """\
[pmmux]
routing-strategy = least-requests
selection-timeout = 2s
preview-buffer-limit = 64KiB
extensions = tls, acme
port-bindings =
    443:8443:tcp
    # in between

    ?:53

[listener front]
bind = 0.0.0.0, [::]
port = 443
public-port = ?

[listener local]
bind = unix:/run/pmmux.sock

[backend ssh]
protocol = pass
target = 127.0.0.1:22
remote-ip! = 10.0.0.0/8; ::ffff:192.0.2.1
property[tls.sni]=shop\\.example\\.org

[backend page]
protocol = http-response
response.body = one
  two
    three

[health-check page]
backend = page
interval = 5s
path = /up

[certificate shop]
path = shop.pem

; the end
[metrics]
port = 9000
"""

TOML = r"""
[pmmux]
routing-strategy = "least-requests"
selection-timeout = 2000
preview-buffer-limit = 65536
extensions = ["tls", "acme"]
port-bindings = ["443:8443:tcp", "?:53"]

[listener.front]
bind = ["0.0.0.0", "[::]"]
port = 443
public-port = "?"

[listener.local]
bind = "unix:/run/pmmux.sock"

[backend.ssh]
protocol = "pass"
target = "127.0.0.1:22"
"remote-ip!" = ["10.0.0.0/8", "::ffff:192.0.2.1"]
"property[tls.sni]" = 'shop\.example\.org'

[backend.page]
protocol = "http-response"
response.body = "one\ntwo\nthree"

[health-check.page]
backend = "page"
interval = 5000
path = "/up"

[certificate.shop]
path = "shop.pem"

[metrics]
port = 9000
"""


class LoadTestCase(unittest.SynchronousTestCase):
    """Loads texts as if they were files."""

    def load(
        self,
        text: str | bytes | None = None,
        suffix: str = ".ini",
        overrides: Sequence[tuple[str, str]] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Settings:
        self.path = None
        if text is not None:
            self.path = self.mktemp() + suffix
            Path(self.path).write_bytes(text.encode() if isinstance(text, str) else text)
        return load(overrides, environment or {}, self.path, SCHEMA)

    def faults(
        self,
        text: str | bytes | None = None,
        suffix: str = ".ini",
        overrides: Sequence[tuple[str, str]] = (),
        environment: Mapping[str, str] | None = None,
    ) -> tuple[Fault, ...]:
        error = self.assertRaises(ConfigurationError, self.load, text, suffix, overrides, environment)
        return error.faults

    def places(self, *args: object, **named: object) -> list[str]:
        """Each fault's text, with C{FILE} for the file's name."""
        found = self.faults(*args, **named)  # type: ignore[arg-type]
        return [str(fault).replace(self.path or "\0", "FILE") for fault in found]


class SettingsTests(LoadTestCase):
    """What comes out, of each format alike."""

    def check(self, found: Settings) -> None:
        get = found.globals.get
        self.assertEqual(get("routing-strategy"), "least-requests")
        self.assertEqual(get("selection-timeout"), 2.0)
        self.assertEqual(get("preview-buffer-limit"), 65536)
        self.assertEqual(get("extensions"), ("tls", "acme"))
        self.assertEqual(get("detect-timeout"), 3.0)
        self.assertEqual(get("negotiators"), ("proxy-protocol", "tls", "socket"))
        self.assertIsNone(get("max-connections"))
        self.assertEqual(
            [
                (each.name, each.transport, each.binds, each.port, each.public_port)
                for each in found.listeners
            ],
            [
                ("front", "tcp", ("0.0.0.0", "::"), 443, "?"),
                ("local", "tcp", (), None, None),
                ("8443/tcp", "tcp", (), 8443, 443),
                ("53/tcp", "tcp", (), 53, "?"),
                ("53/udp", "udp", (), 53, "?"),
            ],
        )
        self.assertEqual(found.listeners[1].unix_path, "/run/pmmux.sock")
        self.assertTrue(all(each.listen for each in found.listeners))
        ssh, page = found.backends
        self.assertEqual((ssh.name, ssh.protocol), ("ssh", "pass"))
        self.assertEqual(ssh.options.get("target"), Target("127.0.0.1", 22))
        self.assertEqual(ssh.options.get("priority"), "normal")
        self.assertEqual(
            [(str(key), tuple(map(str, value))) for key, value in ssh.options.keyed("remote-ip")],
            [("remote-ip!", ("10.0.0.0/8", "192.0.2.1/32"))],
        )
        self.assertEqual(ssh.options.values[OptionKey("property", "tls.sni")], (r"shop\.example\.org",))
        self.assertEqual(page.options.get("response.body"), "one\ntwo\nthree")
        (check,) = found.health_checks
        self.assertEqual(
            [check.get(name) for name in ("protocol", "backend", "interval", "timeout", "path")],
            ["http-response", "page", 5.0, 5.0, "/up"],
        )
        (certificate,) = found.sections["certificate"]
        self.assertEqual((certificate.name, certificate.get("path")), ("shop", "shop.pem"))
        self.assertEqual(found.sections["metrics"][0].get("port"), 9000)
        self.assertEqual(found.source, self.path)

    def test_ini(self) -> None:
        self.check(self.load(INI))

    def test_ini_of_other_systems(self) -> None:
        self.check(self.load(b"\xef\xbb\xbf" + INI.replace("\n", "\r\n").encode()))

    def test_toml(self) -> None:
        self.check(self.load(TOML, ".toml"))

    def test_json(self) -> None:
        self.check(self.load(json.dumps(tomllib.loads(TOML)), ".json"))

    def test_yaml(self) -> None:
        try:
            import yaml
        except ImportError:
            raise unittest.SkipTest("PyYAML is not installed") from None
        self.check(self.load(yaml.safe_dump(tomllib.loads(TOML), sort_keys=False), ".yaml"))

    def test_yaml_without_its_package(self) -> None:
        self.patch(sys, "modules", {**sys.modules, "yaml": None})
        (fault,) = self.faults("pmmux: {}", ".yaml")
        self.assertIn("PyYAML", fault.message)

    def test_nothing_at_all(self) -> None:
        found = self.load()
        self.assertEqual((found.listeners, found.backends, found.health_checks), ((), (), ()))
        self.assertEqual(found.globals.get("queue-length"), 1024)
        self.assertEqual(found.sections, {"certificate": (), "metrics": ()})
        self.assertIsNone(found.source)

    def test_the_same_file_gives_equal_settings(self) -> None:
        before = self.load(INI)
        again = load((), {}, self.path, SCHEMA)
        self.assertEqual(before, again)

    def test_any_change_gives_other_settings(self) -> None:
        path = self.mktemp() + ".ini"
        found = []
        for old, new in (
            ("", ""),
            ("2s", "3s"),
            ("port = 443", "port = 444"),
            (":22", ":23"),
            ("[backend ssh]", "[backend git]"),
            ("interval = 5s", "interval = 6s"),
            ("shop.pem", "other.pem"),
            ("9000", "9001"),
            ("bind = 0.0.0.0, [::]", "bind = 0.0.0.0"),
        ):
            Path(path).write_text(INI.replace(old, new) if old else INI)
            found.append(load((), {}, path, SCHEMA))
        for one, other in itertools.combinations(found, 2):
            self.assertNotEqual(one, other)


class ListenerTests(LoadTestCase):
    """Listeners from either form."""

    def listeners(self, *bindings: str) -> tuple[ListenerSpec, ...]:
        return self.load(overrides=[("port-binding", binding) for binding in bindings]).listeners

    def test_compact(self) -> None:
        for binding, expected in {
            "443:8443:tcp": [("8443/tcp", "tcp", (), 8443, 443, True)],
            "!:8443:udp": [("8443/udp", "udp", (), 8443, None, True)],
            "?:?:udp": [("any/udp", "udp", (), None, "?", True)],
            "443:8443:tcp:listen=false": [("8443/tcp", "tcp", (), 8443, 443, False)],
            '443:8443:tcp:bind-address="::1"': [("8443/tcp@::1", "tcp", ("::1",), 8443, 443, True)],
            "443:8443": [
                ("8443/tcp", "tcp", (), 8443, 443, True),
                ("8443/udp", "udp", (), 8443, 443, True),
            ],
        }.items():
            found = [
                (each.name, each.transport, each.binds, each.port, each.public_port, each.listen)
                for each in self.listeners(binding)
            ]
            self.assertEqual(found, expected, binding)

    def test_names_stay_unique(self) -> None:
        found = self.listeners("?:?:tcp", "?:?:tcp", "80:8080:tcp:listen=false", "!:8080:tcp")
        self.assertEqual([each.name for each in found], ["any/tcp", "any/tcp#2", "8080/tcp", "8080/tcp#2"])

    def test_one_port_twice(self) -> None:
        for first, second, is_fault in (
            ("", "", True),
            ("", "bind-address=127.0.0.1", True),
            ("bind-address=0.0.0.0", "bind-address=127.0.0.1", True),
            ('bind-address="::"', "bind-address=127.0.0.1", False),
            ("bind-address=127.0.0.2", "bind-address=127.0.0.1", False),
            ("listen=false", "", False),
        ):
            overrides = [("port-binding", f"1:80:tcp:{first}"), ("port-binding", f"2:80:tcp:{second}")]
            if is_fault:
                self.assertEqual(len(self.faults(overrides=overrides)), 1, (first, second))
            else:
                self.load(overrides=overrides)
        self.load(overrides=[("port-binding", "1:80:tcp"), ("port-binding", "1:80:udp")])

    def test_what_does_not_go_together(self) -> None:
        for lines, option in {
            "bind = unix:/x\nport = 1": "port",
            "bind = unix:/x, ::1": "bind",
            "bind = unix:/x\nprotocol = udp": "protocol",
            "bind = unix:/x\npublic-port = 1": "public-port",
            "port = ?\nlisten = false": "port",
            "protocol = tcp": "",
        }.items():
            (fault,) = self.faults(f"[listener x]\n{lines}\n")
            self.assertEqual(fault.location.option, option, lines)


class PrecedenceTests(LoadTestCase):
    """The command line over the environment over the file."""

    def test_plain_options(self) -> None:
        text = "[pmmux]\nselection-timeout = 1s\nqueue-length = 1\nconnect-retries = 1\n"
        environment = {"PMMUX__QUEUE_LENGTH": "2", "PMMUX__CONNECT_RETRIES": "2", "OTHER": "x"}
        overrides = [("connect-retries", "9"), ("connect-retries", "3")]
        get = self.load(text, overrides=overrides, environment=environment).globals.get
        self.assertEqual([get("selection-timeout"), get("queue-length"), get("connect-retries")], [1.0, 2, 3])

    def test_what_is_overridden_may_be_wrong(self) -> None:
        found = self.load("[pmmux]\nqueue-length = x\n", environment={"PMMUX__QUEUE_LENGTH": "2"})
        self.assertEqual(found.globals.get("queue-length"), 2)

    def test_lists_of_names_are_taken_whole(self) -> None:
        text = "[pmmux]\nextensions = a, b\n"
        for overrides, environment, expected in (
            ([], {}, ("a", "b")),
            ([], {"PMMUX__EXTENSIONS": "c,d"}, ("c", "d")),
            ([], {"PMMUX__EXTENSIONS__10": "e", "PMMUX__EXTENSIONS__9": "d"}, ("d", "e")),
            ([("extension", "f"), ("extensions", "g,h")], {"PMMUX__EXTENSIONS": "c"}, ("f", "g", "h")),
        ):
            found = self.load(text, overrides=overrides, environment=environment)
            self.assertEqual(found.globals.get("extensions"), expected)
            self.assertEqual(wanted_extensions(overrides, environment, self.path), expected)

    def test_backends_are_merged_by_name_in_place(self) -> None:
        text = "[pmmux]\nbackends = z:noop\n[backend a]\nprotocol = noop\n[backend b]\nprotocol = noop\n"
        environment = {"PMMUX__BACKENDS__1": 'b:pass:target="h:2"', "PMMUX__BACKENDS__0": "c:noop"}
        overrides = [("backend", 'a:pass:target="h:1"'), ("backend", "d:noop"), ("backend", "c:pass")]
        found = self.load(text, overrides=overrides, environment=environment).backends
        self.assertEqual(
            [(each.name, each.protocol) for each in found],
            [("a", "pass"), ("b", "pass"), ("z", "noop"), ("c", "pass"), ("d", "noop")],
        )

    def test_a_binding_takes_the_place_of_the_one_of_its_port(self) -> None:
        text = "[pmmux]\nport-bindings = 80:8080:tcp\n  443:8443:tcp\n"
        found = self.load(text, overrides=[("port-binding", "!:8080:tcp")]).listeners
        self.assertEqual([(each.port, each.public_port) for each in found], [(8080, None), (8443, 443)])

    def test_health_checks_are_merged_by_what_they_check(self) -> None:
        text = (
            "[backend web]\nprotocol = pass\n[health-check one]\nbackend = web\n"
            "[health-check all]\ninterval = 1s\n[health-check of-pass]\nprotocol = pass\n"
        )
        overrides = [("health-check", "pass:web:interval=7s"), ("health-check", "::interval=8s")]
        found = self.load(text, overrides=overrides).health_checks
        self.assertEqual(
            [(each.name, each.get("protocol"), each.get("backend"), each.get("interval")) for each in found],
            [("pass:web", "pass", "web", 7.0), ("all", None, None, 8.0), ("of-pass", "pass", None, 10.0)],
        )


class ReferenceTests(LoadTestCase):
    """References to environment variables."""

    def test_everywhere(self) -> None:
        environment = {
            "HOST": "127.0.0.1",
            "BACKEND": 'c:pass:target="h:3"',
            "T": "4s",
            "PMMUX__BACKENDS__0": 'b:pass:target="{{env:HOST}}:2"',
            "LIKE": "{{env:HOST}}",
        }
        text = (
            "[pmmux]\nselection-timeout = {{env:T}}\nlog-file = {{env:LIKE}}\n"
            "[backend a]\nprotocol = pass\ntarget = {{env:HOST}}:{{env:NONE:-1}}\n"
        )
        found = self.load(text, environment=environment, overrides=[("backend", "{{env:BACKEND}}")])
        self.assertEqual(
            [str(each.options.get("target")) for each in found.backends],
            ["127.0.0.1:1", "127.0.0.1:2", "h:3"],
        )
        self.assertEqual(found.globals.get("selection-timeout"), 4.0)
        self.assertEqual(found.globals.get("log-file"), "{{env:HOST}}")

    def test_missing_and_broken(self) -> None:
        text = (
            "[pmmux]\nbackends =\n  a:noop:{{env:NONE}}\n  b:noop\n  c:{{env:NIL}}\n"
            "log-file = {{env:1x}}\nqueue-length = {{env:\n[health-check b]\nbackend = b\n"
        )
        found = self.places(text)
        self.assertEqual(
            [each.split("; ")[0] for each in found],
            [
                "FILE:3 [pmmux] backends: the environment variable NONE is not set",
                "FILE:5 [pmmux] backends: the environment variable NIL is not set",
                "FILE:6 [pmmux] log-file: a broken reference to an environment variable",
                "FILE:7 [pmmux] queue-length: a broken reference to an environment variable",
                "FILE:8 [health-check b]: backends of the protocol noop have no health check",
            ],
        )

    def test_what_variables_hold_is_not_shown(self) -> None:
        text = (
            "[pmmux]\nqueue-length = {{env:S}}\nrouting-strategy = {{env:S}}\n"
            "backends = a:pass:target={{env:S}}\n"
        )
        found = "\n".join(self.places(text, environment={"S": "hunter2"}))
        self.assertEqual(found.count("not shown"), 3)
        self.assertNotIn("hunter2", found)
