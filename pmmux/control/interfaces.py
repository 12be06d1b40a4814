"""The contracts of steering: what a running pmmux can be asked, and what C{pmmuxctl} can do."""

from __future__ import annotations

from typing import Any

from zope.interface import Attribute, Interface


class ICommand(Interface):
    """
    One thing that a running pmmux can be asked to tell or to do.

    Registered by its name; the control socket and the HTTP API serve every one that there is. It
    runs in the reactor's thread and must not block.
    """

    name = Attribute("Lower case words separated by dots: C{'backends.add'}; on the console, by spaces.")
    summary = Attribute("One sentence.")
    arguments = Attribute("A sequence of L{pmmux.control.arguments.Argument}.")
    is_stream = Attribute("Whether it tells something again and again, until whoever asked goes away.")
    is_changing = Attribute("Whether it changes anything.")

    def run(service: Any, arguments: Any, tell: Any) -> Any:
        """
        Do it; a coroutine function. It is cancelled at its C{await} when whoever asked goes away.

        @param service: the running L{pmmux.service.PmmuxService}.
        @param arguments: a mapping with each of L{arguments}, checked; C{None} for what was not given.
        @param tell: called by a stream with each value to be told.
        @return: the result. It, and what is told, are made of what JSON knows: mappings of text, lists,
            text, numbers, booleans, C{None}.
        @raises pmmux.control.protocol.CommandError: it cannot be done, and why.
        """

    def show(result: Any) -> Any:
        """
        @param result: what L{run} returned, or one value that it told.
        @return: the lines for people; every client's text in them made safe.
        """


class IConsoleCommand(Interface):
    """
    One sub-command of C{pmmuxctl} that does its work itself, without a running pmmux.

    Registered by its name. Every L{ICommand} is a sub-command without further ado.
    """

    name = Attribute("As typed: C{'explain'}.")
    summary = Attribute("One sentence.")

    def add_arguments(parser: Any) -> None:
        """@param parser: an L{argparse.ArgumentParser} to describe its arguments to."""

    def run(arguments: Any) -> int:
        """
        @param arguments: the L{argparse.Namespace}.
        @return: the exit status: see L{pmmux.control.exits}.
        """
