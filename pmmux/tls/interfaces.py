"""The contract of the certificate store."""

from __future__ import annotations

from typing import Any

from zope.interface import Attribute, Interface


class ICertificateStore(Interface):
    """
    The certificates that TLS is terminated with, by the names they are for.

    There is one, in the registry. Certificates may be added, replaced and removed at any time;
    connections that stand are not touched.
    """

    generation = Attribute("A number that changes with each change of the certificates, and each L{reload}.")

    def find(server_name: str | None) -> Any:
        """
        The L{pmmux.tls.certificates.Certificate} for a ClientHello's name: that of the exact name, else
        of the wildcard that covers it, else the default one; C{None} where there is none. Called for
        each ClientHello.

        @param server_name: in lower case and without the trailing dot; C{None} where none was sent.
        """

    def add(certificate: Any) -> None:
        """Present C{certificate} from now on, in place of the one of its name if there is one."""

    def remove(name: str) -> None:
        """
        Present the certificate C{name} no more.

        @raises KeyError: there is none of that name.
        """

    def reload() -> None:
        """Read those again whose files have changed, without waiting for a connection."""

    def certificates() -> Any:
        """@return: a tuple of all of them, without those that were generated."""
