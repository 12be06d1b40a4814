"""
A UPnP Internet gateway device, on the parts of txupnp that work: reading descriptions, building and
reading SOAP. Where to connect, for how long, and which actions there are is ours to say.

Importing this needs txupnp, the extra C{upnp}.

@see: UPnP WANIPConnection:1 and :2
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from attrs import frozen
from txupnp.constants import CONTROL, DEVICE, FAULT, ROOT
from txupnp.gateway import Device, Gateway
from txupnp.scpd import SCPDCommandRunner, SCPDResponse, _SCPDCommand, get_soap_body
from txupnp.util import etree_to_dict, flatten_keys, get_dict_val_case_insensitive

from pmmux.nat.http import DeviceHTTP
from pmmux.nat.mapping import Finding, NATRefused, Reason, refuse
from pmmux.nat.settings import LARGEST_PORT
from pmmux.wire.ssdp import SearchAnswer
from pmmux.wire.upnp import find_document_fault, pin_url

SERVICE_TYPES = (
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
_ENTRY_ARGUMENTS = frozenset({"NewRemoteHost", "NewExternalPort", "NewProtocol"})
ACTIONS: Mapping[str, frozenset[str]] = {
    "GetExternalIPAddress": frozenset(),
    "AddPortMapping": _ENTRY_ARGUMENTS
    | {
        "NewInternalPort",
        "NewInternalClient",
        "NewEnabled",
        "NewPortMappingDescription",
        "NewLeaseDuration",
    },
    "GetSpecificPortMappingEntry": _ENTRY_ARGUMENTS,
    "DeletePortMapping": _ENTRY_ARGUMENTS,
}
"""The actions called, with their arguments; a device's other actions are never touched."""

FAULT_NO_SUCH_ENTRY = 714
_LONGEST_WORDS = 80


@frozen(auto_exc=True, slots=False)
class IGDFault(NATRefused):
    """
    The device's own no.

    @ivar code: the UPnP error code; 0 where it has none.
    """

    code: int = 0


@frozen(slots=True)
class PortEntry:
    """A line of the device's table."""

    client: str
    port: int
    description: str


class DeviceCommand(_SCPDCommand):  # type: ignore[misc]
    """One action of the device, sent over our own HTTP."""

    def __init__(self, url: str, service_type: str, name: str, inputs: list[str], outputs: list[str]) -> None:
        super().__init__(None, None, None, url, service_type, name, inputs, outputs)

    async def call(self, http: DeviceHTTP, **arguments: str | int) -> dict[str, str]:
        """
        Perform the action.

        @return: its output arguments, as text.
        @raises IGDFault: the device refuses.
        """
        escaped = {name: escape(str(value)) for name, value in arguments.items()}
        body = get_soap_body(self.service_id, self.method, self.param_names, **escaped).lstrip("\n")
        headers = {
            "SOAPAction": f'"{self.service_id}#{self.method}"',
            "Content-Type": 'text/xml; charset="utf-8"',
        }
        status, octets = await http.post(self.control_url, headers, body.encode("utf-8"))
        _check(octets)
        try:
            content = self.extract_body(octets)
            fault = _read_fault(content)
            values = () if fault else self.extract_response(content)
        except Exception:  # txupnp's reading of a stranger's document may fail in any way; nothing is awaited
            raise refuse(
                Reason.BROKEN_DEVICE, f"the device answers {self.method} with HTTP {status} and nonsense"
            ) from None
        if fault is not None:
            raise fault
        if not isinstance(values, tuple):
            values = (values,)
        return {name: str(value or "") for name, value in zip(self.returns, values, strict=True)}


class PinnedGateway(Gateway):  # type: ignore[misc]
    """txupnp's gateway, its description given instead of fetched."""

    def __init__(self, location: str, answer: SearchAnswer) -> None:
        super().__init__(usn=answer.unique_name, server=answer.server, location=location, st=answer.target)

    def read_description(self, octets: bytes) -> None:
        """
        Take the device description.

        @raises NATRefused: it is none.
        """
        _check(octets)
        try:
            tree = flatten_keys(etree_to_dict(ElementTree.fromstring(octets)), f"{{{DEVICE}}}")[ROOT]
            self.url_base = get_dict_val_case_insensitive(tree, "urlbase")
            device = get_dict_val_case_insensitive(tree, "device")
            self._device = Device(self._devices, self._services, **device)
        except Exception:  # as above
            raise refuse(Reason.BROKEN_DEVICE, "the UPnP device's description cannot be read") from None

    def resolve(self, reference: object) -> str:
        """
        Turn a URL of the description into an absolute one on the device.

        @raises NATRefused: it leads elsewhere.
        """
        location = self.location.decode("ascii")
        host = location.partition("//")[2].partition(":")[0]
        base = pin_url(self.url_base, host) if isinstance(self.url_base, str) else ""
        url = pin_url(reference, host, base or location) if isinstance(reference, str) else ""
        if not url:
            raise refuse(
                Reason.BROKEN_DEVICE, "the UPnP device's description leads to an address that is not its own"
            )
        return url


class InternetGateway:
    """
    The actions of one device that we use.

    @ivar service_type: the service that has them.
    """

    def __init__(self, http: DeviceHTTP, service_type: str, commands: dict[str, DeviceCommand]) -> None:
        self._http = http
        self._commands = commands
        self.service_type = service_type

    async def ask_external_address(self) -> str:
        """@return: the gateway's external address; empty where it has none."""
        outputs = await self._commands["GetExternalIPAddress"].call(self._http)
        text = outputs.get("NewExternalIPAddress", "")
        if not text:
            return ""
        try:
            address = ipaddress.IPv4Address(text)
        except ValueError:
            raise refuse(Reason.BROKEN_DEVICE, "the device's external address is none") from None
        return "" if address.is_unspecified else str(address)

    async def add(self, entry: PortEntry, transport: str, external_port: int, lifetime_seconds: int) -> None:
        """Make a mapping, or renew it. @raises IGDFault: the device refuses."""
        await self._commands["AddPortMapping"].call(
            self._http,
            NewRemoteHost="",
            NewExternalPort=external_port,
            NewProtocol=transport.upper(),
            NewInternalPort=entry.port,
            NewInternalClient=entry.client,
            NewEnabled=1,
            NewPortMappingDescription=entry.description,
            NewLeaseDuration=lifetime_seconds,
        )

    async def find(self, transport: str, external_port: int) -> PortEntry | None:
        """@return: who has this port; C{None} where nobody has."""
        try:
            outputs = await self._commands["GetSpecificPortMappingEntry"].call(
                self._http, NewRemoteHost="", NewExternalPort=external_port, NewProtocol=transport.upper()
            )
        except IGDFault as fault:
            if fault.code == FAULT_NO_SUCH_ENTRY:
                return None
            raise
        port = outputs.get("NewInternalPort", "")
        try:
            client = str(ipaddress.IPv4Address(outputs.get("NewInternalClient", "")))
        except ValueError:
            client = ""
        if not (client and port.isascii() and port.isdecimal() and len(port) <= len(str(LARGEST_PORT))):
            raise refuse(Reason.BROKEN_DEVICE, "the device's table cannot be read")
        return PortEntry(client, int(port), _clean(outputs.get("NewPortMappingDescription", "")))

    async def delete(self, transport: str, external_port: int) -> None:
        """Delete a mapping; one that is not there is no fault."""
        try:
            await self._commands["DeletePortMapping"].call(
                self._http, NewRemoteHost="", NewExternalPort=external_port, NewProtocol=transport.upper()
            )
        except IGDFault as fault:
            if fault.code != FAULT_NO_SUCH_ENTRY:
                raise


async def open_gateway(http: DeviceHTTP, location: str, answer: SearchAnswer) -> InternetGateway:
    """
    Read the description of a device and of its first service that maps ports.

    @raises NATRefused: it has none, or is broken.
    """
    gateway = PinnedGateway(location, answer)
    gateway.read_description(await http.fetch(location))
    for service_type, control_url, actions_url in choose_service(gateway):
        commands = read_commands(await http.fetch(actions_url), control_url, service_type)
        if set(commands) == set(ACTIONS):
            return InternetGateway(http, service_type, commands)
    raise refuse(Reason.UNSUPPORTED, "the UPnP device does not map ports")


def choose_service(gateway: PinnedGateway) -> list[tuple[str, str, str]]:
    """
    Services that may map ports, the preferred one first: type, control URL and URL of the actions.

    @raises NATRefused: one is broken.
    """
    services = []
    for service_type in SERVICE_TYPES:
        try:
            service = gateway.get_service(service_type)
        except (AttributeError, TypeError):
            raise refuse(Reason.BROKEN_DEVICE, "the UPnP device has a service without a type") from None
        if service is not None:
            urls = gateway.resolve(service.controlURL), gateway.resolve(service.SCPDURL)
            services.append((service_type, *urls))
    return services


def read_commands(octets: bytes, control_url: str, service_type: str) -> dict[str, DeviceCommand]:
    """
    Read a service's list of actions.

    @return: those we use, by name, as far as they are what they should be.
    @raises NATRefused: it cannot be read.
    """
    _check(octets)
    commands = {}
    try:
        actions = SCPDResponse(None, None, octets).get_action_list()
        for action in actions if isinstance(actions, list) else [actions]:
            name, inputs, outputs = SCPDCommandRunner._soap_function_info(action)
            if name in ACTIONS and set(inputs) == ACTIONS[name] and len(inputs) == len(set(inputs)):
                commands[name] = DeviceCommand(control_url, service_type, name, inputs, outputs)
    except Exception:  # as above
        raise refuse(Reason.BROKEN_DEVICE, "the UPnP device's list of actions cannot be read") from None
    return commands


def _read_fault(content: dict[str, Any]) -> IGDFault | None:
    if FAULT not in content:
        return None
    try:
        error = flatten_keys(content[FAULT], f"{{{CONTROL}}}")["detail"]["UPnPError"]
        code = int(error["errorCode"])
    except (KeyError, TypeError, ValueError):
        return IGDFault(Finding(Reason.BROKEN_DEVICE, "the device refuses without a reason"))
    words = _clean(str(error.get("errorDescription") or ""))
    return IGDFault(
        Finding(Reason.UNSUPPORTED, f"the device refuses by UPnP: {code} {words}".rstrip()), code=code
    )


def _check(octets: bytes) -> None:
    fault = find_document_fault(octets)
    if fault:
        raise refuse(Reason.BROKEN_DEVICE, f"the UPnP device sent a document that is refused: {fault}")


def _clean(text: str) -> str:
    """A stranger's words, fit for a log: one line, printable, short."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:_LONGEST_WORDS])
