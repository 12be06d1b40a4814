"""C{pmmuxctl version}: which pmmux this is, and what it runs on."""

from __future__ import annotations

import argparse
import json
import platform
import ssl
from importlib import metadata

import twisted
from pmmux import __version__
from pmmux.control import exits
from pmmux.control.console.command import ConsoleCommand, add_json_argument

EXTRA_PACKAGES = ("google-re2", "scapy", "txupnp", "PyYAML")


def versions() -> dict[str, str]:
    """Each with its name; what is not installed is absent."""
    found = {
        "pmmux": __version__,
        "python": platform.python_version(),
        "twisted": twisted.__version__,
        "openssl": ssl.OPENSSL_VERSION,
    }
    for name in EXTRA_PACKAGES:
        try:
            found[name.lower()] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def run(arguments: argparse.Namespace) -> int:
    """Print them."""
    found = versions()
    if arguments.json:
        print(json.dumps(found))
    else:
        width = max(map(len, found))
        for name, version in found.items():
            print(f"{name.ljust(width)}  {version}")
    return exits.OK


command = ConsoleCommand(
    "version", "Print the versions of pmmux and of what it runs on.", run, add_json_argument
)
