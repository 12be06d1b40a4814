"""Everything that is wrong is told at once; nothing, whatever it is, ends the loading otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from pmmux.config.load import load, wanted_extensions
from pmmux.errors import ConfigurationError
from pmmux.test.test_config_load import SCHEMA, LoadTestCase


class FaultTests(LoadTestCase):
    """Everything that is wrong, at once, with its place, what was expected and what is near."""

    def test_all_in_the_order_of_the_file(self) -> None:
        text = """\
stray = 1
[pmmux]
routing-strategy = first-availabel
selection-timeout = 5x
selction-timeout = 3
foo
backends =
    # comment
    a:noop

    b:nop
    c:pass:target=127.0.0.1:22
mux-only = on
portmap-only = yes
[listener front]
bind = 0.0.0.0, ::1x
port = 99999
[listner x]
[backend a]
protocol = pass
target = nohost
target[x] = h:1
target! = h:1
property = x
propety[tls.sni]! = x
remote-ip! = x
remote-ip!=10.0.0.0/8
remote-ip = ::1;;::2
[backend]
protocol = noop
[backend web]
[pmmux]
[metrics two]
[health-check q]
protocol = pass
backend = wbe
"""
        found = self.places(
            text,
            overrides=[("port-binding", "x"), ("bakend", "y:noop")],
            environment={
                "PMMUX__QUEUE_LENGHT": "3",
                "PMMUX__BACKENDS__2": 'a"',
                "PMMUX__VERBOSITY__0": "info",
            },
        )
        expected = """\
FILE:1 stray: stands before the first section; expected a section such as [pmmux]
FILE:3 [pmmux] routing-strategy: there is no routing-strategy 'first-availabel'; expected one of \
first-available, least-requests; did you mean 'first-available'?
FILE:4 [pmmux] selection-timeout: bad value '5x': unknown unit; the units are ms, s, m, h, d; expected \
a duration such as 500 (milliseconds), 5s or 2m, above 0
FILE:5 [pmmux] selction-timeout: unknown option; did you mean 'selection-timeout'?
FILE:6: neither a section, nor an option with '=', nor a comment
FILE:11 [backend b] protocol: there is no protocol 'nop'; expected one of pass, noop, http-response; \
did you mean 'noop'?
FILE:12 [pmmux] backends: column 25: too many segments for <name>:<protocol>:<parameters>; quote a \
value that holds ':'; expected <name>:<protocol>:<parameters>
FILE:14 [pmmux] portmap-only: excludes mux-only
FILE:16 [listener front] bind: bad value '::1x': not an IP address; expected IP addresses, or unix: and a path
FILE:17 [listener front] port: bad value '99999': not a number from 1 to 65535; expected a port number, \
or ? to let the system choose
FILE:18 [listner x]: unknown section; did you mean 'listener'?
FILE:19 [backend a]: is there already, as [backend a] on line 9
FILE:21 [backend a] target: bad value 'nohost': no port; expected host:port
FILE:22 [backend a] target[x]: takes no key in square brackets; expected target
FILE:23 [backend a] target!: cannot be negated; expected target
FILE:24 [backend a] property: needs a key in square brackets; expected property[KEY]
FILE:25 [backend a] propety[tls.sni]!: unknown option; did you mean 'property[tls.sni]!'?
FILE:26 [backend a] remote-ip!: bad value 'x': neither an IP address nor a network; expected an \
address or network
FILE:27 [backend a] remote-ip!: is given already on line 26
FILE:28 [backend a] remote-ip: an empty value beside a ';'; expected an address or network
FILE:29 [backend]: needs a name; expected [backend NAME]
FILE:31 [backend web]: protocol is missing; expected protocol = a backend protocol
FILE:32 [pmmux]: is there already, as [pmmux] on line 2
FILE:33 [metrics two]: takes no name; expected [metrics]
FILE:36 [health-check q] backend: there is no backend 'wbe'; expected one of a, web, b; did you mean 'web'?
environment PMMUX__QUEUE_LENGHT: unknown variable; did you mean 'PMMUX__QUEUE_LENGTH'?
environment PMMUX__VERBOSITY__0: takes one value, not a numbered list
environment PMMUX__BACKENDS__2: column 2: the quote is not closed; expected <name>:<protocol>:<parameters>
command line bakend: unknown option; did you mean 'backends'?
command line port-binding: column 1: a port binding names two ports, or ? or ! in their places; \
expected <public>:<local>:<tcp|udp>:<parameters>
"""
        self.assertEqual(sorted(found), sorted(expected.splitlines()))
        lines = [int(each.split(":")[1].split(" ")[0]) for each in found if each.startswith("FILE")]
        self.assertEqual(lines, sorted(lines))
        self.assertTrue(found[-1].startswith("command line"))

    def test_lines_in_toml(self) -> None:
        text = """\
[pmmux]
port-bindings = [
  "443:8443:tcp",
  "x:53:udp",
]
log-metrics = "perhaps"
max-connections = nan
[backend.web]
protocol = "noop"
[backend.shop]
protocol = "nop"
deep.er = [[1]]
[listener]
x = 1
[metrics]
port = 1979-05-27
"""
        self.assertEqual(
            [each.split(": ")[0] for each in self.places(text, ".toml")],
            [
                "FILE:4 [listener 53/udp] public-port",
                "FILE:6 [pmmux] log-metrics",
                "FILE:7 [pmmux] max-connections",
                "FILE:11 [backend shop] protocol",
                "FILE:12 [backend shop] deep.er",
                "FILE:14 [listener x]",
                "FILE:16 [metrics] port",
            ],
        )

    def test_json(self) -> None:
        text = '{"pmmux": {"queue-length": 5,\n"queue-length": null},\n'
        text += '"x": 1,\n"listener": {"a": {\n"port": 0.5}}}'
        self.assertEqual(
            [each.split(";")[0] for each in self.places(text, ".json")],
            [
                "FILE:2 [pmmux] queue-length: neither text, nor a number, nor true or false, "
                "nor a list of these",
                "FILE:2 [pmmux] queue-length: is given already on line 1",
                "FILE:3 x: stands outside any section",
                "FILE:5 [listener a] port: bad value '0.5': not a number from 1 to 65535",
            ],
        )

    def test_bad_syntax_leaves_the_other_sources(self) -> None:
        for suffix, text, line in (
            (".toml", "a = 1\nb = \n", 2),
            (".json", "{\n\n!", 3),
            (".json", "[1]", 1),
            (".toml", "x = " + "[" * 5000, None),
            (".json", '{"x":' * 5000, None),
            (".json", '{"pmmux": {"a":' + "[" * 20 + "]" * 20 + "}}", None),
            (".ini", "[pmmux]\n\xff", None),
        ):
            found = self.faults(text, suffix, overrides=[("queue-length", "x")])
            self.assertEqual(found[-1].location.source, "command line", text[:20])
            if line is not None:
                self.assertEqual(found[0].location.line, line, text[:20])

    def test_files_that_cannot_be_read(self) -> None:
        for path in ("/nonexistent/pmmux.ini", "/", "a\0b", "x" * 5000):
            error = self.assertRaises(ConfigurationError, load, (), {}, path, SCHEMA)
            self.assertEqual(len(error.faults), 1)
        (fault,) = self.faults(b"[pmmux]\n\nlog-file = \xff\n")
        self.assertEqual((fault.location.line, fault.message), (3, "is not valid UTF-8"))
        self.faults("[pmmux]\n".encode("utf-16"))

    def test_text_that_would_harm_is_escaped(self) -> None:
        found = self.places(
            "[pmmux]\nqueue-length = \x1b[2J\u202e" + "x" * 500 + "\n\x1b[2J = 1\n[\x07 \x1b]\n",
            environment={"PMMUX__\x1b\n": "1"},
            overrides=[("queue\n", "1"), ("log-file", "\0"), ("gateway", "\udcff")],
        )
        self.assertEqual(len(found), 7)
        for each in found:
            self.assertTrue(each.isprintable(), each)
            self.assertLess(len(each), 300)

    def test_secrets_are_not_shown(self) -> None:
        text = "[certificate x]\npassword = hunter2\npath = x\n"
        (fault,) = self.faults(text)
        self.assertEqual(fault.expected, "1 or 2")
        self.assertNotIn("hunter2", str(fault))

    def test_a_broken_reader_is_named(self) -> None:
        (fault,) = self.faults("[certificate x]\npath = x\nbroken = 1\n")
        self.assertIn("TypeError", fault.message)

    def test_health_checks_that_fit_nothing(self) -> None:
        backends = "[pmmux]\nbackends = web:pass\n  rest:noop\n"
        for lines, message in {
            "protocol = noop": "no health check",
            "backend = rest": "no health check",
            "protocol = http-response\nbackend = web": "another protocol",
            "protocol = pas": "there is no protocol",
            "protocol = pass\npath = /": "unknown option",
        }.items():
            (fault,) = self.faults(f"{backends}[health-check x]\n{lines}\n")
            self.assertIn(message, fault.message)
        twice = "[health-check x]\nbackend = web\n[health-check y]\nprotocol = pass\nbackend = web\n"
        (fault,) = self.faults(backends + twice)
        self.assertIn("as [health-check x]", fault.message)

    def test_a_required_option_of_a_protocol(self) -> None:
        (fault,) = self.faults(overrides=[("backend", "page:http-response")])
        self.assertEqual(str(fault.location), "command line [backend page]")

    def test_the_lead_is_shorter_than_the_lifetime(self) -> None:
        self.load("[pmmux]\nport-map-lifetime = 60\nport-map-renewal-lead = 10\n")
        self.faults("[pmmux]\nport-map-lifetime = 10\nport-map-renewal-lead = 10\n")


WORDS = "[pmmux] [listener a] [backend.b] [[x]] { } [ ] = : , ; \" ' \n \t \\ \0 # 1 443 ? ! tcp backends"
MORE_WORDS = "protocol port bind pass noop target {{env:A}} {{env: [x]! a:noop - & * | !! << % port-bindings"
FRAGMENTS = st.sampled_from([*WORDS.split(" "), *MORE_WORDS.split(" ")])


class AnythingTests(unittest.SynchronousTestCase):
    """Whatever the sources hold, there are settings or faults."""

    @settings(max_examples=150, deadline=None)
    @given(
        st.one_of(st.text(max_size=80), st.lists(FRAGMENTS, max_size=40).map("".join)),
        st.sampled_from((".ini", ".toml", ".json", ".yaml")),
    )
    def test_any_file(self, text: str, suffix: str) -> None:
        path = self.mktemp() + suffix
        Path(path).write_bytes(text.encode("utf-8", "replace"))
        self.load_or_refuse((), {}, path)

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from(("BACKENDS__0", "GATEWAY", "EXTENSIONS", "X")), st.text(max_size=20))
        ),
        st.lists(
            st.tuples(
                st.one_of(st.sampled_from(("backend", "port-binding", "health-check", "gateway")), st.text()),
                st.one_of(st.text(max_size=30), st.lists(FRAGMENTS, max_size=10).map("".join)),
            )
        ),
    )
    def test_any_environment_and_command_line(
        self, environment: list[tuple[str, str]], overrides: list[tuple[str, str]]
    ) -> None:
        self.load_or_refuse(overrides, {f"PMMUX__{name}": value for name, value in environment}, None)

    def load_or_refuse(
        self, overrides: Sequence[tuple[str, str]], environment: Mapping[str, str], path: str | None
    ) -> None:
        wanted_extensions(overrides, environment, path)
        try:
            load(overrides, environment, path, SCHEMA)
        except ConfigurationError as error:
            self.assertTrue(error.faults)
            for line in str(error).split("\n"):
                self.assertTrue(line.isprintable(), line)
