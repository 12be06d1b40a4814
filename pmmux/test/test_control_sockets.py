from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pmmux.config.steering_options import listening_place, socket_place, token
from pmmux.config.values import Target
from pmmux.control.places import Directory, directories, running_sockets
from pmmux.control.sockets import open_default, open_unix

USER = os.geteuid()


class SocketCase(SynchronousTestCase):
    def setUp(self) -> None:
        # In /tmp, for unix sockets' paths are short.
        self.directory = Path(tempfile.mkdtemp(prefix="pmmux-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.path = self.directory / "control.sock"
        self.environment = {"RUNTIME_DIRECTORY": str(self.directory / "run")}


class OpenTests(SocketCase):
    def test_for_its_owner_alone(self) -> None:
        before = os.umask(0)
        try:
            opened = open_unix(self.path)
        finally:
            os.umask(before)
        self.addCleanup(opened.close)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_gone_when_closed(self) -> None:
        open_unix(self.path).close()
        self.assertFalse(self.path.exists())

    def test_in_the_place_of_one_that_is_dead(self) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(self.path))
        opened = open_unix(self.path)
        self.addCleanup(opened.close)

    def test_not_in_the_place_of_one_that_lives(self) -> None:
        first = open_unix(self.path)
        self.addCleanup(first.close)
        self.assertRaises(FileExistsError, open_unix, self.path)
        self.assertTrue(self.path.exists())

    def test_not_in_the_place_of_something_else(self) -> None:
        self.path.write_text("precious")
        self.assertRaises(FileExistsError, open_unix, self.path)
        self.assertEqual(self.path.read_text(), "precious")

    def test_closing_leaves_what_took_its_place(self) -> None:
        first = open_unix(self.path)
        self.path.unlink()
        second = open_unix(self.path)
        self.addCleanup(second.close)
        first.close()
        self.assertTrue(self.path.exists())

    def test_no_directory(self) -> None:
        self.assertRaises(OSError, open_unix, self.directory / "absent" / "control.sock")


class DefaultTests(SocketCase):
    def test_the_directory_is_made(self) -> None:
        opened = open_default(self.environment, USER)
        self.addCleanup(opened.close)
        self.assertEqual(opened.path, self.directory / "run" / "control.sock")
        self.assertEqual(stat.S_IMODE(opened.path.parent.stat().st_mode), 0o700)

    def test_several_have_names_of_their_own(self) -> None:
        names = []
        for _ in range(3):
            opened = open_default(self.environment, USER)
            self.addCleanup(opened.close)
            names.append(opened.path.name)
        self.assertEqual(names, ["control.sock", "control-2.sock", "control-3.sock"])
        found = [path.name for path in running_sockets(self.environment, USER)]
        self.assertEqual(sorted(found), sorted(names))

    def test_dead_ones_are_not_found(self) -> None:
        os.mkdir(self.directory / "run")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(self.directory / "run" / "control.sock"))
        alive = open_unix(self.directory / "run" / "control-2.sock")
        self.addCleanup(alive.close)
        self.assertEqual(running_sockets(self.environment, USER), [alive.path])


class DirectoryTests(SocketCase):
    def test_order(self) -> None:
        environment = {"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/run/user/1000"}
        paths = [str(each.path) for each in directories(environment, 1000)]
        self.assertEqual(paths[:2], ["/run/a", "/run/user/1000/pmmux"])
        self.assertTrue(paths[2].endswith("pmmux-1000"))
        self.assertEqual([str(each.path) for each in directories({}, 0)], ["/run/pmmux"])

    def test_relative_ones_are_ignored(self) -> None:
        self.assertEqual(len(directories({"RUNTIME_DIRECTORY": "run", "XDG_RUNTIME_DIR": "x"}, 0)), 1)

    def test_in_a_shared_place_only_ones_own_is_trusted(self) -> None:
        path = self.directory / "pmmux-1"
        path.mkdir(mode=0o700)
        self.assertEqual(Directory(path, is_shared=True).fault(USER), "")
        self.assertIn("another user", Directory(path, is_shared=True).fault(USER + 1))
        path.chmod(0o750)
        self.assertIn("open to other users", Directory(path, is_shared=True).fault(USER))
        self.assertRaises(PermissionError, Directory(path, is_shared=True).make, USER)

    def test_a_link_is_not_followed(self) -> None:
        link = self.directory / "link"
        link.symlink_to(self.directory)
        self.assertIn("not a directory", Directory(link, is_shared=True).fault(USER))


class OptionTests(SynchronousTestCase):
    def test_socket(self) -> None:
        self.assertEqual(socket_place("/run/x.sock"), "/run/x.sock")
        self.assertEqual(socket_place("OFF"), "off")
        for text in ("", "x.sock", "@abstract", "/" + "x" * 200):
            self.assertRaises(ValueError, socket_place, text)

    def test_listen(self) -> None:
        self.assertEqual(listening_place("9000"), Target("127.0.0.1", 9000))
        self.assertEqual(listening_place("[::1]:9000"), Target("::1", 9000))
        self.assertIsNone(listening_place("off"))
        for text in ("", "0", "localhost:9000", "unix:/x", "127.0.0.1"):
            self.assertRaises(ValueError, listening_place, text)

    def test_token(self) -> None:
        self.assertEqual(token(" 0123456789abcdef "), "0123456789abcdef")
        for text in ("", "short", "x" * 2000, "0123456789abcdef\u00e9"):
            self.assertRaises(ValueError, token, text)
