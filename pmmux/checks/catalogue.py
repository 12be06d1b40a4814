"""The checks that pmmux brings itself."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pmmux.checks


def builtin_checks() -> dict[str, Any]:
    """New L{pmmux.checks.interfaces.IHealthCheck}s by name: one of each module that has C{make_check}."""
    modules = (
        importlib.import_module(f"{pmmux.checks.__name__}.{module.name}")
        for module in pkgutil.iter_modules(pmmux.checks.__path__)
        if module.name != "catalogue"
    )
    made = [module.make_check() for module in modules if hasattr(module, "make_check")]
    return {check.name: check for check in made}
