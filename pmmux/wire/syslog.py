"""
Syslog messages.

@see: RFC 5424 section 6, RFC 3164 section 4
"""

from __future__ import annotations

import re

from attrs import frozen

PRIORITY = re.compile(rb"<(0|[1-9][0-9]{0,2})>")
PRIORITY_MAXIMUM = 191
SEVERITIES = 8
SEVERITY_NAMES = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
FACILITY_NAMES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip

RFC5424 = re.compile(
    rb"1 (?:-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d))"
    rb" ([!-~]{1,255}) ([!-~]{1,48}) [!-~]{1,128} [!-~]{1,32} (?:-|\[)"
)
RFC3164 = re.compile(
    rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 0-3]?\d (?:\d{4} )?"
    rb"\d\d:\d\d:\d\d(?:\.\d{1,6})?:? "
    rb"(?:([0-9A-Za-z._:-]{0,254}[0-9A-Za-z._-]) )?"
)
TAG = re.compile(rb"([!-9;-Z\\^-~]{1,48})(?:\[[!-~]{0,32}\])?:")
"""An application's name, perhaps with its process, before the text; RFC 3164 section 4.1.3."""
CONTROLS = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]")
"""What text does not hold; escape is left out, for colours."""
UNKNOWN = "-"


@frozen(slots=True)
class Message:
    """
    A message, as far as its head tells.

    @ivar form: C{rfc5424}, C{rfc3164}, or C{other} for text behind nothing but a priority.
    @ivar priority: facility and severity in one number, 0 to 191.
    @ivar facility: one of L{FACILITY_NAMES}.
    @ivar severity: one of L{SEVERITY_NAMES}.
    @ivar host: as the message names it, in lower case; empty where it does not.
    @ivar app: the application; empty where there is none.
    """

    form: str
    priority: int
    facility: str
    severity: str
    host: str
    app: str


def parse_message(datagram: bytes) -> Message | None:
    """
    Read the head of a message.

    @return: C{None} where there is no valid priority, or what follows it is not text.
    """
    priority = PRIORITY.match(datagram)
    if priority is None or (value := int(priority[1])) > PRIORITY_MAXIMUM:
        return None
    position = priority.end()
    host = app = ""
    if found := RFC5424.match(datagram, position):
        form, host, app = "rfc5424", found[1].decode("ascii"), found[2].decode("ascii")
    elif found := RFC3164.match(datagram, position):
        form, host = "rfc3164", (found[1] or b"").decode("ascii")
        if tag := TAG.match(datagram, found.end()):
            app = tag[1].decode("ascii")
    elif _is_text(datagram[position:]):
        form = "other"
    else:
        return None
    return Message(
        form,
        value,
        FACILITY_NAMES[value // SEVERITIES],
        SEVERITY_NAMES[value % SEVERITIES],
        "" if host == UNKNOWN else host.lower().removesuffix("."),
        "" if app == UNKNOWN else app,
    )


def _is_text(octets: bytes) -> bool:
    """Whether there is text and nothing but; a C string's end may come with it."""
    text = octets.removesuffix(b"\0")
    if not text.strip() or CONTROLS.search(text):
        return False
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
