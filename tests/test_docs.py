"""The pages of docs/ that are made from the program say what the program does."""

import re
import sys
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pmmux.interfaces import IRoutingStrategy
from pmmux.registry import Registry
from pmmux.test import test_house

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

    def test_numbers_and_names(self) -> None:
        """It names each strategy, and README counts the probes."""
        registry = Registry()
        registry.load(())
        text = self.page.PAGE.read_text(encoding="utf-8")
        for name in registry.names(IRoutingStrategy):
            self.assertIn(f"\n| `{name}`", text)
        tcp, udp = (len(registry.probes(transport)) for transport in ("tcp", "udp"))
        readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
        self.assertIn(f"{tcp} TCP and {udp} UDP protocols", " ".join(readme.split()))


class ReferenceTests(SynchronousTestCase):
    """docs/generate_reference.py, but for the minute that it takes."""

    def setUp(self) -> None:
        sys.path.insert(0, str(DOCS))
        self.addCleanup(sys.path.remove, str(DOCS))
        import generate_reference

        self.reference = generate_reference

    def test_what_counts_as_wrong(self) -> None:
        """Links to what is not ours are not faults; those within pmmux are, and broken markup is."""
        wrong = [
            '/x/pmmux/a.py:3: Cannot find link target for "pmmux.model.Nowhere"',
            "/x/pmmux/a.py:12: bad docstring: Unbalanced '}'.",
            '/x/pmmux/a.py:???: Documented parameter "b" does not exist',
        ]
        said = [
            "writing html to /x/build/api",
            '/x/pmmux/a.py:7: Cannot find link target for "twisted.logger" (you can link to it)',
            '/x/pmmux/a.py:8: Cannot find link target for "OSError"',
        ]
        self.assertEqual(self.reference.faults("\n".join(said + wrong)), wrong)

    def test_the_page_names_what_there_is(self) -> None:
        text = (DOCS / "api-reference.md").read_text(encoding="utf-8")
        modules = re.findall(r"^\| `(pmmux[.\w]+)` \|", text, re.MULTILINE)
        self.assertGreater(len(modules), 4)
        for module in modules:
            import_module(module)


class PagesForThoseWhoCarryOnTests(SynchronousTestCase):
    """docs/architecture.md and docs/extensibility.md against what there is."""

    def read(self, name: str) -> str:
        return (DOCS / name).read_text(encoding="utf-8")

    def test_floors(self) -> None:
        """The table of floors is the one that imports are held to."""
        rows = re.findall(r"^\| (\d) \| (.+) \|$", self.read("architecture.md"), re.MULTILINE)
        told = {name: int(floor) for floor, cell in rows for name in re.findall(r"`(\w+)/?`", cell)}
        held = {name: at for name, at in test_house.FLOORS.items() if "." not in name}
        self.assertEqual(set(told.items()) ^ set(held.items()), set())

    def test_modules(self) -> None:
        """Every module that is named is there."""
        for page in ("architecture.md", "extensibility.md"):
            for path in re.findall(r"`(?:pmmux/)?((?:[a-z_]+/)*[a-z_]+\.py)`", self.read(page)):
                found = [*(DOCS.parent / "pmmux").rglob(path), *(DOCS.parent / "examples").rglob(path)]
                self.assertTrue(found, f"{path} in {page}")

    def test_doors(self) -> None:
        """Every interface and every method of the registry that is named is there."""
        text = self.read("extensibility.md")
        for method in set(re.findall(r"`registry\.(\w+)", text)):
            self.assertTrue(hasattr(Registry(), method), method)
        for place, name in set(re.findall(r"`(?:([\w.]+)\.)?(I[A-Z]\w+)`", text)):
            if name != "IPlugin":
                module = import_module(place or "pmmux.interfaces")
                self.assertTrue(hasattr(module, name), name)
