"""C{python -m bench}: what is asked for, who is there, and one table."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import attrs

from bench.contenders import PEERS, AbsentError, Contender, Pmmux, parse_extra
from bench.figures import Pair
from bench.machine import choose_cores, describe_machine, raise_descriptor_limit
from bench.pairing import Course
from bench.processes import StartError
from bench.row import Row, discover_rows, select_rows
from bench.stand import QUICK, Effort, Stand
from bench.table import RowResult, write_table

RESULTS = Path(__file__).parent / "results"
ROUNDS, QUICK_ROUNDS = 5, 3
DESCRIPTORS_RESERVE = 200
DESCRIPTORS_PER_CONNECTION = 2.5
"""Two sockets, and what HAProxy sets aside for its pipes."""
CONNECTIONS_LIMIT = 7000
CONNECTIONS_RESERVE = 50


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    peers = ",".join(peer.name for peer in PEERS)
    parser = argparse.ArgumentParser("python -m bench", description="Measure pmmux beside its peers.")
    parser.add_argument(
        "--only", type=_words, default=[], metavar="ROW,...", help="these rows (echo means echo-1, ...)"
    )
    parser.add_argument(
        "--against",
        type=_words,
        default=_words(peers),
        metavar="PEER,...",
        help=f"of {peers}; the first that is here and can do it is the reference",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        help=f"pairs of each contender in each row ({ROUNDS}, or {QUICK_ROUNDS} with --quick)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="shorter runs, smaller transfers, fewer connections"
    )
    parser.add_argument(
        "--python", default=sys.executable, help="the interpreter that pmmux is installed for"
    )
    parser.add_argument(
        "--pmmux-config-extra",
        type=parse_extra,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option for [pmmux], or listener:key=value, backend:key=value; repeatable",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="PATH",
        help="where the figures go (bench/results/); the table goes beside, as .txt",
    )
    parser.add_argument("--list", action="store_true", help="list the rows and contenders, measure nothing")
    options = parser.parse_args(arguments)
    unknown = set(options.against) - {peer.name for peer in PEERS}
    if unknown:
        parser.error(f"no such contender: {', '.join(sorted(unknown))}; there are: {peers}")
    try:
        options.rows = select_rows(discover_rows(), options.only)
    except ValueError as error:
        parser.error(str(error))
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    return options


def find_contenders(options: argparse.Namespace) -> tuple[list[Contender], dict[str, str]]:
    """Who of those asked for is here, pmmux last; and by name the version, or what is missing."""
    asked: list[Contender] = [peer for name in options.against for peer in PEERS if peer.name == name]
    asked.append(Pmmux(options.python, tuple(options.pmmux_config_extra)))
    here, versions = [], {}
    for contender in asked:
        try:
            versions[contender.name] = contender.version()
            here.append(contender)
        except AbsentError as error:
            versions[contender.name] = f"absent: {error}"
    return here, versions


def limit_connections(descriptors: int) -> int:
    """How many connections a contender can be configured for where a process may have so many descriptors."""
    return min(CONNECTIONS_LIMIT, int((descriptors - DESCRIPTORS_RESERVE) / DESCRIPTORS_PER_CONNECTION))


def choose_effort(quick: bool, connections_limit: int) -> Effort:
    """How much to do, within what contenders are configured for."""
    effort = QUICK if quick else Effort()
    room = connections_limit - CONNECTIONS_RESERVE
    return attrs.evolve(effort, idle_connections=min(effort.idle_connections, room))


def measure_rows(
    stand: Stand, rows: Sequence[Row], contenders: Sequence[Contender], rounds: int
) -> Iterator[tuple[RowResult, dict[str, list[Pair]]]]:
    """Measure row by row; gives each row's result, and its pairs by contender."""
    for row in rows:
        able = [contender for contender in contenders if row.routes.transport in contender.transports]
        if not able:
            _tell(f"{row.name}: nobody here can do this")
            continue
        course = Course(stand, row, _tell)
        yield course.measure_pairs(able[0], able[1:], rounds)


def _tell(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


def _as_json(
    results: Sequence[RowResult], pairs: dict[str, dict[str, list[Pair]]], facts: dict[str, object]
) -> str:
    rows = {
        result.row.name: {
            "title": result.row.title,
            "reference": result.reference,
            "measure": attrs.asdict(result.row.shown),
            "summaries": {name: attrs.asdict(summary) for name, summary in result.summaries.items()},
            "pairs": {
                name: [attrs.asdict(pair) for pair in taken]
                for name, taken in pairs.get(result.row.name, {}).items()
            },
        }
        for result in results
    }
    return json.dumps({**facts, "rows": rows}, indent=1)


def _end_by_signal(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write; returns the exit status."""
    options = read_options(arguments)
    contenders, versions = find_contenders(options)
    if options.list:
        print("\n".join(f"{row.name:20} {row.title}" for row in options.rows))
        print("\n" + "\n".join(f"{name:20} {version}" for name, version in versions.items()))
        return 0
    signal.signal(signal.SIGTERM, _end_by_signal)
    connections_limit = limit_connections(raise_descriptor_limit())
    effort = choose_effort(options.quick, connections_limit)
    cores = choose_cores()
    facts: dict[str, object] = {
        "measured": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": dict(describe_machine(cores)),
        "contenders": versions,
        "command line": list(arguments),
        "rounds": options.rounds,
        "effort": attrs.asdict(effort),
    }
    results: list[RowResult] = []
    pairs: dict[str, dict[str, list[Pair]]] = {}
    status = 0
    with tempfile.TemporaryDirectory(prefix="pmmux-bench-", ignore_cleanup_errors=True) as directory:
        stand = Stand(Path(directory), cores, effort, connections_limit)
        try:
            stand.open()
            for result, taken in measure_rows(stand, options.rows, contenders, options.rounds):
                results.append(result)
                pairs[result.row.name] = taken
        except StartError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            _tell("cut short: the rows below are those that were complete")
        except Exception:
            # A fault of the bench itself must not cost the rows before it.
            traceback.print_exc()
            status = 1
        finally:
            stand.close()
    _publish(options.json, facts, cores.are_apart, versions, results, pairs)
    return status


def _publish(
    path: Path | None,
    facts: dict[str, object],
    cores_are_apart: bool,
    versions: dict[str, str],
    results: Sequence[RowResult],
    pairs: dict[str, dict[str, list[Pair]]],
) -> None:
    machine, words = facts["machine"], facts["command line"]
    assert isinstance(machine, dict) and isinstance(words, list)
    lines = [f"{name}: {value}" for name, value in {**machine, **versions}.items()]
    lines.append(f"asked for: {shlex.join(map(str, words)) or 'everything'}, {facts['rounds']} rounds")
    if not cores_are_apart:
        lines.append("ONE CORE ONLY: proxy, load and upstream share it; the figures say little")
    text = "\n".join([*lines, "", write_table(results), ""])
    print(text)
    path = path or RESULTS / time.strftime("%Y%m%d-%H%M%S.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_as_json(results, pairs, facts) + "\n")
    path.with_suffix(".txt").write_text(text)
    print(f"written: {path} and {path.with_suffix('.txt').name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
