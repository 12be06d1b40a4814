"""
Tests for the bench itself: its arithmetic, its table, its contenders' configurations, and that the load
generator sees what it claims to see. Nothing here judges a speed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from bench.__main__ import limit_connections, read_options
from bench.contenders import TLS, UDP, HAProxy, Nginx, Place, Pmmux, Routes, Sslh, parse_extra
from bench.figures import Pair, Sample, median, summarise_contender, summarise_reference
from bench.load import (
    LoadError,
    make_certificate,
    make_hellos,
    read_result,
)
from bench.machine import Cores, Schedule, process_tree, read_schedule
from bench.processes import Nursery, StartError, await_ready
from bench.row import Measure, discover_rows, select_rows
from bench.stand import Observation
from bench.table import RowResult, align, own_growth, write_number, write_table

GOOD = Sample(value=100.0, units=1000, cpu_seconds=0.5, wall_seconds=1.0, p50_us=10.0, p99_us=20.0)


def pair_of(reference: float, contender: float, noise_share: float = 0.0) -> Pair:
    """Two samples of these values, the contender disturbed by C{noise_share}."""
    return Pair(evolve(GOOD, value=reference), evolve(GOOD, value=contender, noise_share=noise_share))


class FiguresTests(SynchronousTestCase):
    """Samples, pairs and their medians."""

    def test_median_of_what_there_is(self) -> None:
        """Absent values do not count; none at all gives none."""
        self.assertEqual(median([3.0, None, 1.0, 2.0]), 2.0)
        self.assertIsNone(median([None]))

    def test_median_of_ratios_not_ratio_of_medians(self) -> None:
        """Each pair's ratio is taken first: a machine that slows down for both does not show."""
        summary = summarise_contender([pair_of(100, 50), pair_of(10, 5), pair_of(30, 24)])
        self.assertEqual((summary.ratio, summary.ratio_low, summary.ratio_high), (0.5, 0.5, 0.8))
        self.assertEqual((summary.pairs, summary.clean_pairs), (3, 3))

    def test_noisy_pairs_do_not_count_beside_clean_ones(self) -> None:
        """A pair that others disturbed is left out as long as there is a clean one."""
        summary = summarise_contender([pair_of(100, 90), pair_of(100, 10, noise_share=0.5)])
        self.assertEqual(summary.ratio, 0.9)
        self.assertEqual(summary.value, 90)
        self.assertFalse(summary.is_too_noisy)

    def test_too_noisy_to_tell(self) -> None:
        """With fewer than half of the pairs clean there is a figure, and the word that it says nothing."""
        noisy = pair_of(100, 10, noise_share=0.05)
        summary = summarise_contender([noisy, noisy, pair_of(100, 90)])
        self.assertTrue(summary.is_too_noisy)
        self.assertTrue(summarise_contender([noisy]).is_too_noisy)
        self.assertEqual(summarise_contender([noisy]).ratio, 0.1)

    def test_faults_are_remarks_not_figures(self) -> None:
        """A failed run gives no ratio and does not make the machine noisy."""
        failed = Pair(GOOD, Sample(None, fault="did not start"))
        summary = summarise_contender([failed, failed])
        self.assertIsNone(summary.ratio)
        self.assertIsNone(summary.value)
        self.assertEqual(summary.remarks, ("did not start",))
        self.assertFalse(summary.is_too_noisy)
        summary = summarise_contender([failed, pair_of(10, 20)])
        self.assertEqual(summary.ratio, 2.0)
        self.assertEqual(summary.remarks, ("did not start (1 of 2)",))

    def test_cpu_per_unit(self) -> None:
        """CPU is per unit done, warm-up included, and compared within the pair."""
        self.assertEqual(GOOD.cpu_per_unit, 0.0005)
        pair = Pair(GOOD, evolve(GOOD, units=2000))
        self.assertEqual(pair.cpu_ratio, 0.5)
        self.assertIsNone(evolve(GOOD, units=0).cpu_per_unit)

    def test_ratio_to_nothing(self) -> None:
        """An added latency may come out at or below 0: no ratio to that, and none below 0 of it."""
        self.assertIsNone(pair_of(-1.0, 5.0).ratio)
        self.assertIsNone(pair_of(0.0, 5.0).ratio)
        self.assertEqual(pair_of(5.0, -1.0).ratio, 0.0)

    def test_load_bound(self) -> None:
        """Said where the load's core is full and the proxy's is not."""
        bound = evolve(GOOD, load_share=0.99)
        self.assertTrue(bound.is_load_bound)
        self.assertFalse(evolve(bound, cpu_seconds=0.98).is_load_bound)
        self.assertIn("load-bound", summarise_reference([bound]).remarks)

    def test_losses(self) -> None:
        """Their median is said, and in how many runs there were any."""
        summary = summarise_reference([evolve(GOOD, loss_share=0.02), evolve(GOOD, loss_share=0.04), GOOD])
        self.assertEqual(summary.remarks, ("loses 2.00% (2 of 3)",))


class TableTests(SynchronousTestCase):
    """How figures are written."""

    def test_numbers(self) -> None:
        """Three digits that matter, no more."""
        written = [write_number(value) for value in (None, 0.0, 0.0123, 0.5, 12.34, 123.4, 1234567.0)]
        self.assertEqual(written, ["-", "0.00", "0.0123", "0.50", "12.3", "123", "1,234,567"])

    def test_align(self) -> None:
        """Words to the left, numbers to the right, no blanks at the end."""
        self.assertEqual(
            align([("a", "b", "1", "x"), ("aaa", "b", "222", "")]), "a    b    1  x\naaa  b  222"
        )

    def _result(self, name: str, **summaries: object) -> RowResult:
        (row,) = select_rows(discover_rows(), [name])
        return RowResult(row, "haproxy", summaries)  # type: ignore[arg-type]

    def test_table(self) -> None:
        """The reference first, then ratios, doubts and remarks."""
        result = self._result(
            "connections",
            pmmux=summarise_contender([pair_of(100, 90, noise_share=0.5)]),
            haproxy=summarise_reference([GOOD]),
        )
        _, first, second = write_table([result]).splitlines()
        self.assertTrue(first.startswith("connections per second  haproxy"))
        self.assertIn("pmmux", second)
        self.assertIn("0.90x?", second)
        self.assertIn("TOO NOISY TO TELL (0 of 1 pairs clean)", second)

    def test_own_growth(self) -> None:
        """A row with a baseline says what its CPU became since."""
        few = self._result("decision-10", pmmux=summarise_reference([GOOD]))
        many = self._result("decision-100", pmmux=summarise_reference([evolve(GOOD, cpu_seconds=0.75)]))
        earlier = {result.row.name: result for result in (few, many)}
        self.assertEqual(own_growth(many, "pmmux", earlier), "CPU 1.50x of its own in decision-10")
        self.assertEqual(own_growth(few, "pmmux", earlier), "")
        self.assertEqual(own_growth(many, "pmmux", {}), "")


class RowsTests(SynchronousTestCase):
    """What is measured."""

    def test_names_are_unique_and_baselines_exist(self) -> None:
        """A row is asked for by its name, and its baseline comes before it."""
        seen: set[str] = set()
        for row in discover_rows():
            self.assertNotIn(row.name, seen)
            self.assertTrue(not row.baseline or row.baseline in seen, row.name)
            self.assertIsInstance(row.shown, Measure)
            seen.add(row.name)

    def test_select(self) -> None:
        """By name, or by what names begin with; a wrong name is refused with the right ones."""
        rows = discover_rows()
        self.assertEqual(
            [row.name for row in select_rows(rows, ["echo"])], ["echo-1", "echo-50", "echo-1000"]
        )
        self.assertEqual([row.name for row in select_rows(rows, ["echo-1"])], ["echo-1"])
        self.assertEqual(select_rows(rows, []), rows)
        self.assertIn("decision-10", str(self.assertRaises(ValueError, select_rows, rows, ["ech"])))

    def test_options(self) -> None:
        """Lists by commas; rounds depend on --quick."""
        options = read_options(["--quick", "--only", "udp,memory", "--against", "nginx,haproxy"])
        self.assertEqual(options.against, ["nginx", "haproxy"])
        self.assertEqual(options.rounds, 3)
        self.assertEqual(
            [row.name for row in options.rows], ["memory-base", "memory", "udp-echo", "udp-flood"]
        )

    def test_connections_within_descriptors(self) -> None:
        """Contenders are configured for what the descriptor limit allows."""
        self.assertEqual(limit_connections(1 << 20), 7000)
        self.assertEqual(limit_connections(1024), 329)


class ContenderTests(SynchronousTestCase):
    """The configurations that contenders get."""

    def _place(self, routes: Routes) -> Place:
        directory = Path(self.mktemp())
        directory.mkdir()
        return Place(routes, 8000, (9000, 9001), directory.absolute(), 100)

    def _read(self, place: Place, name: str) -> str:
        return (place.directory / name).read_text()

    def test_targets_alternate(self) -> None:
        """Backends take turns over the upstreams, so that a wrong decision arrives where it is noticed."""
        self.assertEqual(
            self._place(Routes(3)).targets(),
            [("s0.example", 9000), ("s1.example", 9001), ("s2.example", 9000)],
        )

    def test_pmmux(self) -> None:
        """One section for each backend, extras where they belong."""
        extras = [parse_extra("queue-length=4096"), parse_extra("listener:tcp-defer-accept = on")]
        place = self._place(Routes(2))
        argv = Pmmux("/nowhere/bin/python", extras).prepare(place)
        self.assertEqual(argv[-4:], ["--pidfile=", "pmmux", "--config", str(place.directory / "pmmux.ini")])
        self.assertEqual(
            self._read(place, "pmmux.ini"),
            "[pmmux]\nlog-format = json\nqueue-length = 4096\n"
            "[listener front]\nbind = 127.0.0.1\nport = 8000\nprotocol = tcp\ntcp-defer-accept = on\n"
            "[backend b0]\nprotocol = pass\ntarget = 127.0.0.1:9000\nsni = s0.example\n"
            "[backend b1]\nprotocol = pass\ntarget = 127.0.0.1:9001\nsni = s1.example\n",
        )

    def test_pmmux_datagrams(self) -> None:
        """One backend without a condition."""
        place = self._place(Routes(1, UDP))
        Pmmux("/nowhere/bin/python").prepare(place)
        text = self._read(place, "pmmux.ini")
        self.assertIn("protocol = udp\n", text)
        self.assertNotIn("sni", text)

    def test_terminated(self) -> None:
        """Everybody has the same certificate and cipher suite, and routes by the name in the handshake."""
        place = evolve(self._place(Routes(2, TLS)), certificate="/own.pem")
        Pmmux("/nowhere/bin/python").prepare(place)
        text = self._read(place, "pmmux.ini")
        self.assertIn("protocol = tcp\n", text)
        self.assertIn("[certificate own]\npath = /own.pem\ndefault = yes\n", text)
        HAProxy().prepare(place)
        self.assertIn("ssl crt /own.pem", self._read(place, "haproxy.cfg"))
        self.assertIn("ssl_fc_sni", self._read(place, "haproxy.cfg"))
        Nginx().prepare(place)
        self.assertIn("$ssl_server_name", self._read(place, "nginx.conf"))
        for name in ("pmmux.ini", "haproxy.cfg", "nginx.conf"):
            self.assertIn("TLS_AES_128_GCM_SHA256", self._read(place, name))
        self.assertNotIn(TLS, Sslh("select").transports)

    def test_extra_must_be_an_option(self) -> None:
        """Words without a value are refused."""
        self.assertRaises(ValueError, parse_extra, "queue-length")

    def test_haproxy(self) -> None:
        """The names are in a map, and each has its backend."""
        place = self._place(Routes(2))
        HAProxy().prepare(place)
        self.assertEqual(self._read(place, "names.map"), "s0.example b0\ns1.example b1\n")
        self.assertIn("backend b1\n    server up 127.0.0.1:9001\n", self._read(place, "haproxy.cfg"))

    def test_peers_accept_their_configuration(self) -> None:
        """HAProxy and nginx check what they are given, where they are installed."""
        checks = {
            "haproxy": (HAProxy(), Routes(3), ["-c"]),
            "haproxy-tuned": (HAProxy(tuned=True), Routes(3), ["-c"]),
            "haproxy, TLS": (HAProxy(), Routes(3, TLS), ["-c"]),
            "nginx, TLS": (Nginx(), Routes(3, TLS), ["-t"]),
            "nginx": (Nginx(), Routes(3), ["-t"]),
            "nginx, UDP": (Nginx(), Routes(1, UDP), ["-t"]),
        }
        for name, (contender, routes, check) in checks.items():
            place = self._place(routes)
            if routes.transport == TLS:
                place = evolve(place, certificate=str(place.directory / "own.pem"))
                make_certificate(Path(place.certificate))
            try:
                contender.version()
            except Exception as error:
                raise SkipTest(str(error)) from error
            nursery = Nursery(place.directory)
            child = nursery.spawn("check", [*contender.prepare(place), *check], min(os.sched_getaffinity(0)))
            self.assertEqual(child.process.wait(20), 0, f"{name}: {child.last_words()}")

    def test_sslh(self) -> None:
        """One entry for each name."""
        place = self._place(Routes(2))
        Sslh("select").prepare(place)
        self.assertIn(
            'port: "9001"; log_level: 0; sni_hostnames: [ "s1.example" ]', self._read(place, "sslh.cfg")
        )


class MachineTests(SynchronousTestCase):
    """What is read of the kernel, and children."""

    def test_schedule(self) -> None:
        """This process has run; differences are differences."""
        self.assertGreater(read_schedule([os.getpid()]).run_seconds, 0)
        self.assertEqual(read_schedule([]).run_seconds, 0)
        self.assertEqual(Schedule(3.0, 2.0).since(Schedule(1.0, 0.5)), Schedule(2.0, 1.5))

    def test_noise_share(self) -> None:
        """The worst of waiting, stolen time and, where ticks can tell, foreign work on the load's core."""
        seen = Observation(wall_seconds=1.0, wait_seconds=0.02, upstream_seconds=0.4, load_core_seconds=0.95)
        self.assertEqual(seen.noise_share(load_cpu_seconds=0.5), 0.02)
        self.assertAlmostEqual(seen.noise_share(load_cpu_seconds=0.3), 0.25)

    def test_child_is_pinned_and_ended_with_its_children(self) -> None:
        """What a child started goes with it."""
        directory = Path(self.mktemp())
        directory.mkdir()
        nursery, core = Nursery(directory), min(os.sched_getaffinity(0))
        child = nursery.spawn("parent", ["sh", "-c", "sleep 60 & sleep 60"], core)
        self.addCleanup(nursery.stop_all)
        await_ready(child, lambda: len(child.pids) == 3, 5)
        pids = child.pids
        self.assertEqual(os.sched_getaffinity(pids[1]), {core})
        nursery.stop_all()
        self.assertFalse(child.is_alive)
        for pid in pids[1:]:
            self.assertIn(_state_of(pid), ("", "Z"))

    def test_child_that_ends_is_not_ready(self) -> None:
        """Its last words are in the error."""
        directory = Path(self.mktemp())
        directory.mkdir()
        child = Nursery(directory).spawn(
            "brief", ["sh", "-c", "echo sorry; exit 3"], min(os.sched_getaffinity(0))
        )
        error = self.assertRaises(StartError, await_ready, child, lambda: False, 5)
        self.assertEqual(str(error), "ended with status 3: sorry")

    def test_no_such_process(self) -> None:
        """A process that is gone has no tree."""
        self.assertEqual(process_tree(1 << 30), [])


def _state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


class ResultTests(SynchronousTestCase):
    """Reading the load generator's line."""

    def test_result(self) -> None:
        """Fields that only one mode has are kept apart."""
        line = {
            "units": 10,
            "total": 12,
            "seconds": 2.0,
            "errors": 4,
            "corrupt": 0,
            "load_cpu_seconds": 1.0,
            "lost": 3,
        }
        result = read_result("held 3\n" + json.dumps(line))
        self.assertEqual((result.rate, result.loss_share, result.extra), (5.0, 0.25, {"lost": 3}))

    def test_nonsense(self) -> None:
        """It is an error that says what was said."""
        for text in ("", "hello", "{}"):
            self.assertIn(repr(text), str(self.assertRaises(LoadError, read_result, text)))

    def test_hello(self) -> None:
        """A ClientHello in one TLS record that carries the name."""
        hello = make_hellos(["s1.example"])
        self.assertEqual(hello[0], 0x16)
        self.assertEqual(len(hello), 5 + int.from_bytes(hello[3:5], "big"))
        self.assertIn(b"s1.example", hello)

    def test_cores(self) -> None:
        """Apart where there are two."""
        self.assertTrue(Cores(0, 1).are_apart)
        self.assertFalse(Cores(0, 0).are_apart)
