"""The demonstration and the documentation behave as written."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from pmmux.errors import ConfigurationError
from pmmux.loading import load_settings
from tests.support.case import PmmuxCase, needs
from tests.support.process import ROOT, Pmmux, clean_environment, kill_group, twistd
from tests.support.waiting import free_port, wait_for

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
DEMO = ROOT / "examples" / "demo.ini"
DEMO_PORT = "8443"
PROMPT = "$ "
WILDCARD = "..."
COMMAND_SECONDS = 20
# Of a block that shows a part of a configuration, the rest that makes it whole.
_SECTION = re.compile(r"^\[(\w\S*)(?: +([^\]]+))?\]", re.MULTILINE)
_LISTENER = "[listener tried]\nbind = 127.0.0.1\nport = ?\n"
_BACKEND = "[backend {name}]\nprotocol = pass\ntarget = 127.0.0.1:9\n"
_BACKEND_NAMED = re.compile(r"^backend = (\S+)$", re.MULTILINE)
_VARIABLE = re.compile(r"\{\{env:(\w+)\}\}")
# Where pages keep certificates, and lists of addresses.
_FILES = "/etc/pmmux/"
_FILE = re.compile(_FILES + r"([\w.-]+\.pem)")
_LIST = re.compile(r"-file = " + _FILES + r"([\w-]+)$", re.MULTILINE)
_SECRET = "a secret that is long enough"


@frozen
class Block:
    """
    A fenced block of a page.

    @ivar line: of the page, where it begins.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(language: str) -> Iterator[Block]:
    """Every block in C{language} of every page."""
    for page in PAGES:
        opened, found, lines = 0, "", []
        for number, line in enumerate(page.read_text(encoding="utf-8").split("\n"), 1):
            if line.startswith("```") and not opened:
                opened, found, lines = number, line[3:].strip(), []
            elif line.startswith("```"):
                if found == language:
                    yield Block(str(page.relative_to(ROOT)), opened, found, "\n".join(lines) + "\n")
                opened = 0
            else:
                lines.append(line)


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output that is expected."""
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith(PROMPT):
            found.append((line.removeprefix(PROMPT), ""))
        else:
            command, expected = found.pop()
            found.append((command, expected + line + "\n"))
    return found


def fits(output: str, expected: str) -> bool:
    """Whether C{output} is what was written, in which C{...} stands for anything."""
    pattern = ".*".join(map(re.escape, expected.strip().split(WILDCARD)))
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


class DemoTests(PmmuxCase):
    def start_demo(self) -> tuple[Pmmux, str]:
        """Serve the demonstration on a port that is free here. @return: with that port."""
        config = DEMO.read_text()
        self.assertEqual(config.count(f"port = {DEMO_PORT}\n"), 1)
        port = str(free_port())
        return self.start(config.replace(f"port = {DEMO_PORT}\n", f"port = {port}\n")), port

    @needs("curl", "openssl")
    def test_console_blocks(self) -> None:
        """Each command, while the demonstration is served, says what is written below it."""
        _, port = self.start_demo()
        found = [(block, *pair) for block in blocks("console") for pair in commands(block)]
        self.assertNotEqual(found, [])
        wrong = []
        for block, command, expected in found:
            output = self.run_in_shell(command.replace(DEMO_PORT, port)).replace(port, DEMO_PORT)
            if not fits(output, expected):
                wrong.append(f"{block}: {command}\nsaid:\n{output}\nand not:\n{expected}")
        self.assertEqual(wrong, [])

    def run_in_shell(self, command: str) -> str:
        """@return: what C{command} wrote, and that it hung where it did."""
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=ROOT,
            env=clean_environment(PATH=f"{Path(twistd()).parent}:/usr/bin:/bin:/usr/sbin:/sbin"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(kill_group, process)
        try:
            return process.communicate(timeout=COMMAND_SECONDS)[0]
        except subprocess.TimeoutExpired:
            return f"nothing: it did not end within {COMMAND_SECONDS} s\n"

    def test_every_command_is_tried(self) -> None:
        """A console block begins with a command: a line before it would be compared with nothing."""
        for block in blocks("console"):
            self.assertTrue(block.text.startswith(PROMPT), str(block))

    def test_swallows_the_rest(self) -> None:
        pmmux, _ = self.start_demo()
        client = self.connect(pmmux)
        client.sendall(b"\x00\x01 neither this nor that\r\n")
        client.close()
        (line,) = pmmux.wait_finished(1)
        self.assertEqual((line["backend"], line["octets_from_upstream"]), ("rest", 0))

    def test_ends(self) -> None:
        pmmux, _ = self.start_demo()
        wait_for(pmmux.events, "a log")
        self.assertEqual(pmmux.stop(), 0)


class ConfigurationBlockTests(PmmuxCase):
    """What documentation and examples show as a configuration is one."""

    def check(self, path: Path) -> str:
        """@return: what C{--check} said; empty where it is right."""
        done = subprocess.run(
            [twistd(), "-n", "--pidfile=", "pmmux", "--check", "--config", str(path)],
            cwd=self.directory,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        return "" if done.returncode == 0 else done.stdout

    def make_certificate(self) -> bytes:
        """A certificate that is its own authority, and its key."""
        path = self.directory / "made.pem"
        names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
        files = ("-keyout", str(path), "-out", f"{path}.crt")
        self.run_command(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
        )
        return path.read_bytes() + Path(f"{path}.crt").read_bytes()

    @needs("openssl")
    def test_blocks_load(self) -> None:
        found = list(blocks("ini"))
        self.assertNotEqual(found, [])
        certificate = self.make_certificate()
        for name in {name for block in found for name in _FILE.findall(block.text)}:
            (self.directory / name).write_bytes(certificate)
        for name in {name for block in found for name in _LIST.findall(block.text)}:
            (self.directory / name).write_text("192.0.2.1\n")
        wrong = [said for number, block in enumerate(found) if (said := self.check_block(number, block))]
        self.assertEqual(wrong, [], "\n".join(wrong))

    def check_block(self, number: int, block: Block) -> str:
        sections = set(_SECTION.findall(block.text))
        kinds = {kind for kind, _ in sections}
        rest = "" if "listener" in kinds else _LISTENER
        wanted = set(_BACKEND_NAMED.findall(block.text)) | ({"tried"} if "backend" not in kinds else set())
        for name in sorted(wanted - {name for kind, name in sections if kind == "backend"}):
            rest += _BACKEND.format(name=name)
        path = self.directory / f"{number}.ini"
        path.write_text(block.text.replace(_FILES, f"{self.directory}/") + rest, encoding="utf-8")
        # What --check does, without a process for each.
        try:
            load_settings([], dict.fromkeys(_VARIABLE.findall(block.text), _SECRET), str(path))
        except ConfigurationError as error:
            return f"{block}: {error}"
        return ""

    def test_examples_load(self) -> None:
        found = sorted((ROOT / "examples").glob("*.ini"))
        self.assertIn(DEMO, found)
        for path in found:
            self.assertEqual(self.check(path), "", str(path))
