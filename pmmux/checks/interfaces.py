"""The contract of health checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zope.interface import Attribute, Interface

from pmmux.errors import Fault


class IHealthCheck(Interface):
    """
    One way to ask an upstream whether it works; the name in C{type = …}.

    It is shared by all backends that are checked this way.
    """

    name = Attribute("Its name in the configuration: C{'http'}.")
    options = Attribute("A sequence of L{pmmux.config.options.Option}: the parameters it takes.")

    def validate(check: Any) -> Sequence[Fault]:
        """
        Check what single options cannot tell; called when the configuration is loaded.

        @param check: the L{pmmux.model.SectionValues} of the C{health-check} section.
        @return: a sequence of L{pmmux.errors.Fault}; empty where it is right.
        """

    def run(target: Any, check: Any, services: Any) -> Any:
        """
        Check once; a coroutine function. Called at intervals, never twice at a time for one backend.

        It is cancelled when the check's time-out passes or the service stops, and must then release
        what it holds before it ends. What it holds is to be released too when it ends by itself.

        @param target: the L{pmmux.config.values.Target} to check, its port replaced where the section
            says so; whatever else the backend states as its C{health_target}.
        @param check: the L{pmmux.model.SectionValues} of the C{health-check} section.
        @param services: L{pmmux.registry.Services}
        @return: C{None} where it is healthy.
        @raises pmmux.errors.UpstreamError: why it is not.
        """
