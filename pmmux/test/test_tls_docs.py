"""The examples in docs/tls.md and docs/proxy-protocol.md are right."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pmmux.loading import load_settings
from pmmux.test.authority import Authority

DOCS = Path(__file__).resolve().parents[2] / "docs"


class ExampleTests(SynchronousTestCase):
    def check(self, name: str, count: int) -> None:
        path = DOCS / name
        if not path.exists():
            self.skipTest("installed without documentation")
        directory = tempfile.TemporaryDirectory(prefix="pmmux-")
        self.addCleanup(directory.cleanup)
        files = Path(directory.name)
        authority = Authority()
        authority.issue("shop.example.org").write(files / "shop.pem")
        authority.root.write(files / "root.pem", authority.root_pem)
        examples = re.findall(r"```ini\n(.*?)```", path.read_text(), re.DOTALL)
        self.assertEqual(len(examples), count)
        for example in examples:
            config = files / "pmmux.ini"
            config.write_text(example.replace("/etc/pmmux", str(files)))
            load_settings((), {}, str(config))

    def test_tls(self) -> None:
        self.check("tls.md", 4)

    def test_proxy_protocol(self) -> None:
        self.check("proxy-protocol.md", 2)
