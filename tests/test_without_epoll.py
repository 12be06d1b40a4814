"""Where the system has no epoll, nor what else only Linux has, pmmux is what it is on other systems."""

import socket
import subprocess
import sys

from tests.support.case import PmmuxCase, read_all
from tests.support.process import clean_environment
from tests.support.waiting import free_port, wait_for

PROGRAM = """
import fcntl, os, select, socket, sys

for module, prefixes in (
    (select, ("epoll", "EPOLL")),
    (socket, ("TCP_CONGESTION", "TCP_DEFER_ACCEPT", "TCP_FASTOPEN", "MSG_MORE", "SOCK_NONBLOCK")),
    (os, ("splice", "SPLICE", "pipe2")),
    (fcntl, ("F_SETPIPE", "F_GETPIPE")),
):
    for name in dir(module):
        if name.startswith(prefixes):
            delattr(module, name)
sys.argv = ["twistd", "-n", "--reactor=poll", "--pidfile=", "pmmux", "--config", sys.argv[1]]
from twisted.scripts.twistd import run

run()
"""

CONFIGURATION = """
[pmmux]
control-socket = off

[listener front]
bind = 127.0.0.1
port = {port}

[listener datagrams]
bind = 127.0.0.1
port = {port}
protocol = udp

[backend web]
protocol = http-response
detect = http
response.body = by itself

[backend up]
protocol = pass
target = 127.0.0.1:{upstream}
"""


class WithoutEpollTests(PmmuxCase):
    def test_serves(self) -> None:
        upstream = socket.socket(type=socket.SOCK_DGRAM)
        self.addCleanup(upstream.close)
        upstream.bind(("127.0.0.1", 0))
        upstream.settimeout(20)
        port = free_port()
        path = self.make_directory("files") / "pmmux.ini"
        path.write_text(CONFIGURATION.format(port=port, upstream=upstream.getsockname()[1]))
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path)],
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.terminate)

        def accepts() -> bool:
            self.assertIsNone(process.poll(), "it has ended")
            with socket.socket() as trial:
                return trial.connect_ex(("127.0.0.1", port)) == 0

        wait_for(accepts, "the listener")
        with socket.create_connection(("127.0.0.1", port), 20) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            self.assertTrue(read_all(client).endswith(b"by itself"))
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(20)
            client.connect(("127.0.0.1", port))
            client.send(b"there")
            octets, where = upstream.recvfrom(100)
            upstream.sendto(octets + b" and back", where)
            self.assertEqual(client.recv(100), b"there and back")
