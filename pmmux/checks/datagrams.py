"""A question in one datagram, and the answers to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from pmmux.checks.securing import header_for
from pmmux.errors import UpstreamError
from pmmux.model import SectionValues
from pmmux.wire.proxyheader import V2_START

DEFAULT_TIMEOUT_SECONDS = 5.0
# Where no answer is expected, how much of the time-out a refusal is waited for, and at most how long.
REFUSAL_SHARE = 0.5
REFUSAL_LIMIT_SECONDS = 1.0


class _Asker:
    """The peer of an upstream's socket; see L{pmmux.transport.datagram.Peer}."""

    def __init__(self, judge: Callable[[bytes], str | None]) -> None:
        self._judge = judge
        self._said: Deferred[str] = Deferred()

    def reply(self, octets: Any) -> None:
        """An answer."""
        verdict = self._judge(bytes(octets))
        if verdict is not None:
            self.say(verdict)

    def failed(self, error: OSError) -> None:
        """Nobody is there."""
        self.say(error.strerror or str(error))

    def say(self, error: str) -> None:
        """The upstream works, or does not because of C{error}."""
        if not self._said.called:
            self._said.callback(error)

    def wait(self) -> Deferred[str]:
        """@return: fires with the error, or with nothing."""
        return self._said


async def ask(
    target: Any,
    check: SectionValues,
    services: Any,
    question: bytes,
    judge: Callable[[bytes], str | None],
    needs_answer: bool = True,
) -> None:
    """
    Send C{question}, and wait for what C{judge} makes of the answers.

    @param judge: from an answer to an error, to nothing where it is right, or to C{None} where it is
        to be passed over.
    @param needs_answer: whether silence is a failure; else only a refusal is.
    @raises UpstreamError: why the upstream does not work.
    """
    header = header_for(target, check)
    if not header.startswith(V2_START):
        # Version 1 is for connections only.
        header = b""
    asker = _Asker(judge)
    upstream = await services.datagrams.connect_target(target, asker)
    timer: Any = None
    try:
        try:
            upstream.send(header + question)
        except OSError as error:
            raise UpstreamError(str(target), error.strerror or str(error)) from None
        if not needs_answer:
            timeout_seconds = check.get("timeout") or DEFAULT_TIMEOUT_SECONDS
            wait_seconds = min(REFUSAL_SHARE * timeout_seconds, REFUSAL_LIMIT_SECONDS)
            timer = services.reactor.callLater(wait_seconds, asker.say, "")
        error_text = await asker.wait()
    finally:
        upstream.close()
        if timer is not None and timer.active():
            timer.cancel()
    if error_text:
        raise UpstreamError(str(target), error_text)
