"""The rules of the house, read from the code: floors, entry points, docstrings, sizes, and traps."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import Interface, implementedBy
from zope.interface.interface import InterfaceClass, Method
from zope.interface.verify import verifyClass, verifyObject

import pmmux
from pmmux import interfaces
from pmmux.interfaces import IBackendProtocol, INATDriver, INegotiator, IProbe, IRoutingStrategy
from pmmux.test.doubles import builtin_registry

ROOT = Path(pmmux.__file__).parent

#: Each room or module, with its floor: what is on a floor imports from its own and from those below.
#: Of two entries for one module the longer one counts.
FLOORS: dict[str, int] = {
    "errors": 0,
    "escape": 0,
    "model": 0,
    "timestamps": 0,
    "wire": 0,
    "config": 1,
    "coroutines": 1,
    "interfaces": 1,
    "access": 2,
    "connection": 2,
    "inspection": 2,
    "log_output": 2,
    "logs": 2,
    "preview": 2,
    "systemd": 2,
    "transport": 2,
    "backends": 3,
    "capacity": 3,
    "checks": 3,
    "conditions": 3,
    "matching": 3,
    "members": 3,
    "metrics": 3,
    "nat": 3,
    "negotiators": 3,
    "probes": 3,
    "strategies": 3,
    "tls": 3,
    "candidates": 4,
    "clients": 4,
    "networks": 2,
    "sites": 2,
    "datagrams": 4,
    "health": 4,
    "plugins": 4,
    "registry": 4,
    "router": 4,
    "session": 4,
    "advice": 5,
    "control": 5,
    "course": 5,
    "course_services": 5,
    "course_timing": 5,
    "datagram_listening": 5,
    "explain": 5,
    "express": 5,
    "terminated": 5,
    "terminating": 5,
    "lifecycle": 5,
    "listening": 5,
    "loading": 5,
    "multiplexer": 5,
    "builtin": 6,
    "reload": 6,
    "service": 6,
    "ctl": 7,
    "plugins.pmmux_builtin": 7,
    "tap": 7,
}
#: Imports that go up, each with the reason why it stays.
EXCUSED: dict[tuple[str, str], str] = {}
ENTRY_POINTS = frozenset({"tap", "ctl"})
#: The rooms of a process's own state: with several workers each has its own.
STATELESS_BELOW_FLOOR = 6

MODULE_LINES_LIMIT = 400
#: Longer ones, with the number of lines that they have; they may only shrink.
LONG_MODULES: dict[str, int] = {}
FORBIDDEN_NAMES = re.compile(r"(Manager|Handler|Helper|Util|Utils)$")


@cache
def source(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(source(path))


def name_of(path: Path) -> str:
    """The dotted name below C{pmmux}."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


@cache
def modules() -> list[tuple[str, Path]]:
    """All modules but the tests, by name."""
    found = [(name_of(path), path) for path in sorted(ROOT.rglob("*.py"))]
    return [(name, path) for name, path in found if name.partition(".")[0] not in ("", "test")]


def test_modules() -> list[tuple[str, Path]]:
    return [(path.stem, path) for path in sorted((ROOT / "test").rglob("test_*.py"))]


test_modules.__test__ = False  # type: ignore[attr-defined]


def floor_of(name: str) -> int | None:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        floor = FLOORS.get(".".join(parts[:length]))
        if floor is not None:
            return floor
    return None


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All of the module's syntax."""
    return tuple(ast.walk(parsed(path)))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """The dotted names that are imported at run time."""
    return tuple(imports_of(parsed(path)))


def imports_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.stmt):
            yield from imports_of(node)


def module_imported(imported: str) -> str:
    """The module of ours, below C{pmmux}, that C{imported} comes from."""
    name = imported.removeprefix("pmmux.")
    path = ROOT.joinpath(*name.split("."))
    if path.with_suffix(".py").exists() or (path / "__init__.py").exists():
        return name
    return name.rpartition(".")[0]


class FloorTests(SynchronousTestCase):
    def test_every_module_has_a_floor(self) -> None:
        self.assertEqual([name for name, _ in modules() if floor_of(name) is None], [])

    def test_imports_point_down(self) -> None:
        upward = []
        for name, path in modules():
            for imported in imports(path):
                if not imported.startswith("pmmux."):
                    continue
                target = module_imported(imported)
                ours, theirs = floor_of(name), floor_of(target)
                if target and ours is not None and theirs is not None and theirs > ours:
                    upward.append((name, target))
        self.assertEqual(sorted(set(upward) - set(EXCUSED)), [])
        self.assertEqual(sorted(set(EXCUSED) - set(upward)), [], "excused without need")

    def test_wire_is_pure(self) -> None:
        impure = [
            (name, imported)
            for name, path in modules()
            if name.startswith("wire")
            for imported in imports(path)
            if imported.startswith(("twisted", "zope"))
            or (imported.startswith("pmmux") and not imported.startswith("pmmux.wire"))
        ]
        self.assertEqual(impure, [])

    def test_only_entry_points_know_the_reactor(self) -> None:
        knowing = {
            name for name, path in modules() for each in imports(path) if each == "twisted.internet.reactor"
        }
        self.assertEqual(knowing - ENTRY_POINTS, set())

    def test_nobody_uses_what_is_banned(self) -> None:
        found = [
            (name, imported)
            for name, path in modules()
            for imported in imports(path)
            if imported.startswith(("twisted.python.log", "asyncio", "pmmux.test"))
            and not imported.startswith("twisted.python.logfile")
        ]
        self.assertEqual(found, [])

    def test_imports_are_absolute(self) -> None:
        relative = [
            name
            for name, path in modules()
            for node in nodes(path)
            if isinstance(node, ast.ImportFrom) and node.level
        ]
        self.assertEqual(relative, [])


class ModuleTests(SynchronousTestCase):
    def test_sizes(self) -> None:
        lengths = {name: len(source(path).splitlines()) for name, path in modules()}
        too_long = {
            name: length
            for name, length in lengths.items()
            if length > LONG_MODULES.get(name, MODULE_LINES_LIMIT)
        }
        self.assertEqual(too_long, {})
        shorter = [name for name in LONG_MODULES if lengths.get(name, 0) <= MODULE_LINES_LIMIT]
        self.assertEqual(shorter, [], "no exception is needed any more")

    def test_names_say_what_is_in_them(self) -> None:
        vague = [
            f"{name}.{node.name}"
            for name, path in modules()
            for node in nodes(path)
            if isinstance(node, ast.ClassDef) and FORBIDDEN_NAMES.search(node.name)
        ]
        self.assertEqual(vague, [])

    def test_no_state_in_modules(self) -> None:
        """A dictionary, list or set at module level is a constant: in capitals, and never changed."""
        found = []
        for name, path in modules():
            floor = floor_of(name)
            if floor is None or floor >= STATELESS_BELOW_FLOOR:
                continue
            tree = parsed(path)
            mutable = {target for target, value in assignments(tree) if is_mutable(value)} - {"__all__"}
            found += [f"{name}.{target}" for target in mutable if not target.strip("_").isupper()]
            found += [f"{name}.{target} is changed" for target in mutable & set(changed_names(path))]
            found += [
                f"{name}: global {', '.join(node.names)}"
                for node in nodes(path)
                if isinstance(node, ast.Global)
            ]
        self.assertEqual(sorted(found), [])

    def test_broad_excepts_have_their_reason(self) -> None:
        """C{CancelledError} is an C{Exception}: whoever catches all around an await says why."""
        found = []
        for name, path in modules():
            lines = source(path).splitlines()
            for node in nodes(path):
                if not isinstance(node, ast.Try) or not any(awaits(each) for each in node.body):
                    continue
                for handler in node.handlers:
                    caught = "" if handler.type is None else ast.unparse(handler.type)
                    is_broad = caught in ("", "Exception", "BaseException")
                    if is_broad and "#" not in lines[handler.lineno - 1]:
                        found.append(f"{name}:{handler.lineno}")
        self.assertEqual(found, [])


def assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield ast.unparse(node.target), node.value


def is_mutable(value: ast.expr) -> bool:
    if isinstance(value, (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)):
        return True
    return isinstance(value, ast.Call) and ast.unparse(value.func) in (
        "dict",
        "list",
        "set",
        "deque",
        "defaultdict",
    )


_CHANGING = frozenset(
    {
        "append",
        "add",
        "update",
        "extend",
        "insert",
        "pop",
        "popitem",
        "clear",
        "setdefault",
        "remove",
        "discard",
    }
)


def changed_names(path: Path) -> Iterator[str]:
    """Names of which an item is set or deleted, or a method called that changes it."""
    for node in nodes(path):
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            if isinstance(node.value, ast.Name):
                yield node.value.id
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _CHANGING
        ):
            yield ast.unparse(node.func.value)


def awaits(node: ast.AST) -> bool:
    """Whether it awaits, not counting functions defined in it."""
    if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
        return True
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        return False
    return any(awaits(child) for child in ast.iter_child_nodes(node))


class DocstringTests(SynchronousTestCase):
    def test_public_names_have_docstrings(self) -> None:
        self.assertEqual(list(self.undocumented()), [])

    def undocumented(self) -> Iterator[str]:
        for name, path in modules():
            tree = parsed(path)
            if tree.body and ast.get_docstring(tree) is None:
                yield name
            yield from self.undocumented_in(tree, name)

    def undocumented_in(self, parent: ast.AST, name: str) -> Iterator[str]:
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            if node.name.startswith("_"):
                continue
            where = f"{name}.{node.name}"
            if ast.get_docstring(node) is None and not any(
                ast.unparse(each).endswith((".setter", "overload")) for each in node.decorator_list
            ):
                yield where
            if isinstance(node, ast.ClassDef):
                yield from self.undocumented_in(node, where)

    def test_private_classes_have_docstrings_where_interfaces_are_told(self) -> None:
        """Interfaces say who calls: each method of each of ours is documented."""
        missing = [
            f"{each.__name__}.{method}"
            for each in vars(interfaces).values()
            if isinstance(each, InterfaceClass) and each is not Interface
            for method in each.names()
            if not each[method].__doc__
        ]
        self.assertEqual(missing, [])


class TrialTrapTests(SynchronousTestCase):
    """What trial passes over in silence."""

    def test_no_async_test_in_a_synchronous_case(self) -> None:
        found = []
        for name, _ in test_modules():
            try:
                module = import_module(f"pmmux.test.{name}")
            except ImportError:
                # trial itself reports it.
                continue
            for case in vars(module).values():
                if not inspect.isclass(case) or not issubclass(case, SynchronousTestCase):
                    continue
                if not issubclass(case, TestCase):
                    found += [
                        f"{name}.{case.__name__}.{each}"
                        for each, method in inspect.getmembers(case, inspect.iscoroutinefunction)
                        if each.startswith("test")
                    ]
        self.assertEqual(found, [])

    def test_no_setup_that_never_runs(self) -> None:
        never = {"setUpClass", "tearDownClass", "setUpModule", "tearDownModule"}
        found = [
            f"{name}.{node.name}"
            for name, path in test_modules()
            for node in nodes(path)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name in never
        ]
        self.assertEqual(found, [])

    def test_no_test_is_hidden_by_another(self) -> None:
        found = []
        for name, path in test_modules():
            for node in nodes(path):
                if isinstance(node, ast.ClassDef):
                    names = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
                    plain = [each for each in names if each.startswith("test")]
                    found += [f"{name}.{node.name}.{each}" for each in plain if plain.count(each) > 1]
        self.assertEqual(found, [])

    def test_nobody_sleeps(self) -> None:
        found = [
            name
            for name, path in test_modules()
            for node in nodes(path)
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep")
        ]
        self.assertEqual(found, [])


class ProviderTests(SynchronousTestCase):
    """Whatever says that it provides an interface does so."""

    def test_registered_components(self) -> None:
        registry = builtin_registry()
        for interface in (IProbe, IRoutingStrategy, INegotiator, IBackendProtocol, INATDriver):
            found = registry.all(interface)
            self.assertTrue(found, interface)
            for _, component in found:
                verifyObject(interface, component)

    def test_classes(self) -> None:
        broken = []
        for name, kind in classes():
            for interface in implementedBy(kind).declared:
                if any(
                    inspect.ismemberdescriptor(getattr(kind, each, None)) for each in methods_of(interface)
                ):
                    # A value made of functions: its instances are looked at instead.
                    continue
                try:
                    verifyClass(interface, kind)
                except Exception as error:
                    broken.append(f"{name}: {error}")
        self.assertEqual(broken, [])


def methods_of(interface: Any) -> list[str]:
    return [name for name, described in interface.namesAndDescriptions(True) if isinstance(described, Method)]


def classes() -> Iterator[tuple[str, Any]]:
    """Every class of ours that says that it implements something."""
    for found in pkgutil.walk_packages([str(ROOT)], "pmmux."):
        if found.name.startswith("pmmux.test"):
            continue
        try:
            module = import_module(found.name)
        except ModuleNotFoundError as missing:
            if (missing.name or "").startswith("pmmux"):
                raise
            # It needs an optional package.
            continue
        for name, kind in vars(module).items():
            if (
                inspect.isclass(kind)
                and kind.__module__ == module.__name__
                and not isinstance(kind, InterfaceClass)
            ):
                yield f"{module.__name__}.{name}", kind
