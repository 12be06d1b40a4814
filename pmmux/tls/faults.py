"""How a TLS handshake fails."""

from __future__ import annotations

from OpenSSL import SSL


class HandshakeFailed(Exception):
    """
    The handshake ended without a connection.

    @ivar is_gone: whether the peer just went away.
    """

    def __init__(self, reason: str, is_gone: bool = False) -> None:
        super().__init__(reason)
        self.is_gone = is_gone


def explain(error: BaseException) -> str:
    """What OpenSSL refuses, in its words."""
    if isinstance(error, SSL.SysCallError):
        return "the connection ended"
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        texts = [entry[-1] for entry in error.args[0] if entry and entry[-1]]
        return texts[0] if texts else "unknown"
    return str(error) or type(error).__name__
