"""
Whether a gateway has lost its mappings, told from the seconds it says it has been up.
"""

from __future__ import annotations

from attrs import define

_BACKWARD_TOLERANCE_SECONDS = 1
_DRIFT_TOLERANCE_SECONDS = 2
_DRIFT_SHARE = 1 / 16


@define
class EpochWatch:
    """
    Remembers the last epoch of one server.

    @see: RFC 6887, section 8.5. RFC 6886, section 3.6, allows a server more drift than that; asking
        again for a mapping that is still there costs one datagram, so the stricter rule serves both.
    """

    _seen_at: float = 0.0
    _epoch: int | None = None

    def shows_loss(self, epoch_seconds: int, now: float) -> bool:
        """
        Take note of an answer.

        @param epoch_seconds: as in the answer.
        @param now: seconds of a clock that does not go back.
        @return: whether the server started anew since the answer before.
        """
        before, seen_at = self._epoch, self._seen_at
        self._epoch, self._seen_at = epoch_seconds, now
        if before is None:
            return False
        server, client = epoch_seconds - before, now - seen_at
        if server < -_BACKWARD_TOLERANCE_SECONDS:
            return True
        return (
            client + _DRIFT_TOLERANCE_SECONDS < server - server * _DRIFT_SHARE
            or server + _DRIFT_TOLERANCE_SECONDS < client - client * _DRIFT_SHARE
        )
