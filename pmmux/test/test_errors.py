"""The taxonomy: each error knows its outcome, and says what it is."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from pmmux import errors
from pmmux.errors import (
    ConfigurationError,
    Fault,
    ListenError,
    PluginError,
    PmmuxError,
    RouteError,
    UpstreamError,
)
from pmmux.model import Location


class ErrorTests(SynchronousTestCase):
    def test_texts_and_outcomes(self) -> None:
        fault = Fault(Location("p.ini", 2), "unknown option", "an option", "sni")
        for error, outcome, text in (
            (PmmuxError("x"), "error", "x"),
            (
                ConfigurationError((fault, Fault(Location("p.ini", 3), "empty"))),
                "configuration-error",
                "p.ini:2: unknown option; expected an option; did you mean 'sni'?\np.ini:3: empty",
            ),
            (
                ListenError("front", "0.0.0.0:1", "taken"),
                "listen-failed",
                "listener front: cannot listen on 0.0.0.0:1: taken",
            ),
            (PluginError("x", "missing"), "plugin-error", "plugin x: missing"),
            (RouteError(errors.OUTCOME_NO_BACKEND), "no-backend", "no-backend"),
            (RouteError(errors.OUTCOME_MALFORMED, "why"), "malformed", "malformed: why"),
            (UpstreamError("192.0.2.1:80", "refused"), "connect-failed", "192.0.2.1:80: refused"),
        ):
            self.assertIsInstance(error, PmmuxError)
            self.assertEqual((error.outcome, str(error)), (outcome, text))

    def test_raised_and_caught(self) -> None:
        with self.assertRaises(RouteError) as caught:
            raise RouteError(errors.OUTCOME_KILLED, "x") from None
        self.assertEqual(caught.exception.detail, "x")

    def test_slugs(self) -> None:
        slugs = [value for name, value in vars(errors).items() if name.startswith("OUTCOME_")]
        self.assertEqual(len(slugs), len(set(slugs)))
        for slug in slugs:
            self.assertRegex(slug, re.compile(r"[a-z]+(-[a-z]+)*"))
