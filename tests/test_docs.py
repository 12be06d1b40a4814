"""The pages of docs/ that are made from the program say what the program does."""

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

DOCS = Path(__file__).resolve().parent.parent / "docs"


class ConfigurationPageTests(SynchronousTestCase):
    """docs/configuration.md against the options there are."""

    def setUp(self) -> None:
        sys.path.insert(0, str(DOCS))
        self.addCleanup(sys.path.remove, str(DOCS))
        import generate_configuration

        self.page = generate_configuration

    def test_is_up_to_date(self) -> None:
        """Its tables are what docs/generate_configuration.py writes."""
        text = self.page.PAGE.read_text(encoding="utf-8")
        self.assertEqual(text, self.page.render(text), "run python docs/generate_configuration.py")

    def test_is_complete(self) -> None:
        """There is a table for each kind of section and each backend protocol."""
        self.assertEqual(set(), self.page.needed() - self.page.documented())
