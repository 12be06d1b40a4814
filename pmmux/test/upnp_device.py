"""A UPnP gateway on loopback, right or hostile in any one way, for the tests of the UPnP driver."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from pmmux.wire.ssdp import SEARCH_TARGETS

HOST = "127.0.0.1"
SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
_ENTRY = "NewRemoteHost NewExternalPort NewProtocol"
_REST = "NewInternalPort NewInternalClient NewEnabled NewPortMappingDescription NewLeaseDuration"
ACTIONS = {
    "GetExternalIPAddress": ("", "NewExternalIPAddress"),
    "AddPortMapping": (f"{_ENTRY} {_REST}", ""),
    "GetSpecificPortMappingEntry": (_ENTRY, _REST),
    "DeletePortMapping": (_ENTRY, ""),
}
_ENVELOPE = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{}</s:Body></s:Envelope>'


def describe_service(
    control: str = "/ctl", scpd: str = "/scpd.xml", extra: str = "", kind: str = SERVICE
) -> bytes:
    return (
        '<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0">'
        f"{extra}<device><deviceType>urn:x:device:InternetGatewayDevice:1</deviceType><UDN>uuid:1</UDN>"
        f"<serviceList><service><serviceType>{kind}</serviceType><serviceId>x</serviceId>"
        f"<SCPDURL>{scpd}</SCPDURL><controlURL>{control}</controlURL></service></serviceList></device></root>"
    ).encode()


def describe_actions(extra: str = "") -> bytes:
    def arguments(names: str, direction: str) -> str:
        return "".join(
            f"<argument><name>{name}</name><direction>{direction}</direction></argument>"
            for name in names.split()
        )

    actions = "".join(
        f"<action><name>{name}</name>"
        f"<argumentList>{arguments(i, 'in')}{arguments(o, 'out')}</argumentList></action>"
        for name, (i, o) in ACTIONS.items()
    )
    return (
        '<?xml version="1.0"?><scpd xmlns="urn:schemas-upnp-org:service-1-0">'
        f"<actionList>{actions}{extra}</actionList></scpd>"
    ).encode()


def soap(action: str, **outputs: object) -> bytes:
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in outputs.items())
    return _ENVELOPE.format(f'<u:{action}Response xmlns:u="{SERVICE}">{inner}</u:{action}Response>').encode()


def fault(code: object, text: str = "") -> bytes:
    return _ENVELOPE.format(
        "<s:Fault><faultcode>s:Client</faultcode><detail>"
        '<UPnPError xmlns="urn:schemas-upnp-org:control-1-0">'
        f"<errorCode>{code}</errorCode><errorDescription>{text}</errorDescription></UPnPError></detail></s:Fault>"
    ).encode()


class Device(Resource):
    """
    Its answers; change any of them to make it hostile.

    @ivar location: what it answers a search with; C{HOST:PORT} stands for its own.
    @ivar pages: from path to the document, or to a callable that is given the request.
    @ivar answers: from action to the answer in place of the right one.
    @ivar table: from external port and protocol to client, local port and description.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.location = "http://HOST:PORT/root.xml"
        self.pages: dict[str, Any] = {"/root.xml": describe_service(), "/scpd.xml": describe_actions()}
        self.answers: dict[str, Any] = {}
        self.table: dict[tuple[str, str], tuple[str, str, str]] = {}
        self.leases: list[str] = []
        self.hits: list[str] = []
        self.noise: list[bytes] = []
        self._ports: list[Any] = []

    def start(self, reactor: Any, host: str = HOST, search_port: int = 0) -> int:
        """@return: the port on which it can be searched."""
        site = Site(self)
        site.noisy = False
        self.host = host
        self._ports.append(reactor.listenTCP(0, site, interface=host))
        self._ports.append(reactor.listenUDP(search_port, _Searched(self), interface=host))
        self.port = self._ports[0].getHost().port
        searched: int = self._ports[1].getHost().port
        return searched

    def stop(self) -> Deferred[Any]:
        return DeferredList([maybeDeferred(port.stopListening) for port in self._ports])

    def render(self, request: Any) -> Any:
        path = request.uri.decode("latin-1")
        self.hits.append(path)
        request.setHeader("content-type", "text/xml")
        if request.method == b"POST":
            return self._act(request)
        page = self.pages.get(path)
        if page is None:
            request.setResponseCode(404)
            return b""
        return page(request) if callable(page) else page

    def _act(self, request: Any) -> Any:
        body = request.content.read().decode()
        action = request.getHeader("soapaction").strip('"').rpartition("#")[2]
        self.hits.append(action)
        given = dict(re.findall(r"<(New\w+)>(.*?)</", body))
        answer = self.answers.get(action)
        if answer is not None:
            answer = answer(given) if callable(answer) else answer
        if answer is not None:
            request.setResponseCode(500 if b"Fault" in answer else 200)
            return answer
        key = (given.get("NewExternalPort", ""), given.get("NewProtocol", ""))
        if action == "GetExternalIPAddress":
            return soap(action, NewExternalIPAddress="11.22.33.1")
        if action == "AddPortMapping":
            self.leases.append(given["NewLeaseDuration"])
            self.table[key] = (
                given["NewInternalClient"], given["NewInternalPort"], given["NewPortMappingDescription"]
            )  # fmt: skip
            return soap(action)
        if key not in self.table:
            request.setResponseCode(500)
            return fault(714, "NoSuchEntryInArray")
        if action == "DeletePortMapping":
            del self.table[key]
            return soap(action)
        client, port, description = self.table[key]
        return soap(
            action, NewInternalPort=port, NewInternalClient=client, NewEnabled=1,
            NewPortMappingDescription=description, NewLeaseDuration=60,
        )  # fmt: skip


class _Searched(DatagramProtocol):
    noisy = False

    def __init__(self, device: Device) -> None:
        self.device = device

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        for noise in self.device.noise:
            self.transport.write(noise, addr)
        if f"ST: {SEARCH_TARGETS[0]}".encode() not in datagram:
            return
        location = self.device.location.replace("HOST", self.device.host).replace(
            "PORT", str(self.device.port)
        )
        target = SEARCH_TARGETS[0]
        answer = f"HTTP/1.1 200 OK\r\nST: {target}\r\nUSN: uuid:1\r\nLOCATION: {location}\r\n\r\n"
        self.transport.write(answer.encode(), addr)


class RawServer(Factory):
    """
    Answers each connection with octets, again and again.

    @ivar sent: how many octets were taken off it.
    """

    noisy = False

    def __init__(self, octets: bytes, repeated: bytes = b"") -> None:
        self.octets = octets
        self.repeated = repeated
        self.sent = 0

    def buildProtocol(self, addr: object) -> Protocol:
        return _RawAnswer(self)


class _RawAnswer(Protocol):
    def __init__(self, server: RawServer) -> None:
        self.server = server

    def connectionMade(self) -> None:
        self.transport.write(self.server.octets)
        if self.server.repeated:
            self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self.server.sent += len(self.server.repeated)
        self.transport.write(self.server.repeated)

    def stopProducing(self) -> None:
        """The connection is closed."""


def hang(request: Any) -> int:
    """A page that never comes."""
    return NOT_DONE_YET
