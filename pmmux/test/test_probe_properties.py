"""
What every probe promises, tried on all of them: with their own sample traffic, with each other's,
with changed samples and with random octets.

A probe is found by its module; its samples are C{MATCHING} of C{pmmux.test.samples.TRANSPORT_NAME}.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import pmmux.probes
import pmmux.test.samples
from pmmux.interfaces import IProbe
from pmmux.model import Verdict
from pmmux.probes.probe import Probe

#: Which probe (third) may take a sample of another (second), and why nothing can tell them apart.
EXPECTED_OVERLAPS: dict[tuple[str, str, str], str] = {}

RANDOM_LENGTH_LIMIT = 64
RANDOM_ROUNDS = 8
FOREIGN_PREFIX_LIMIT = 64


def find_probes() -> list[Probe]:
    """The probe of each module that has one, by transport and name."""
    modules = [
        import_module(f"{pmmux.probes.__name__}.{found.name}")
        for found in pkgutil.iter_modules(pmmux.probes.__path__)
    ]
    found = [module.probe for module in modules if isinstance(getattr(module, "probe", None), Probe)]
    return sorted(found, key=lambda probe: (probe.transport, probe.name))


def samples_name(probe: Probe) -> str:
    return f"{probe.transport}_{probe.name.replace('-', '_')}"


def read_samples(probe: Probe) -> list[bytes]:
    """The samples of C{probe}; none where their module is missing, which one test reports."""
    if samples_name(probe) not in SAMPLE_MODULES:
        return []
    samples: list[bytes] = import_module(f"{pmmux.test.samples.__name__}.{samples_name(probe)}").MATCHING
    return samples


SAMPLE_MODULES = frozenset(found.name for found in pkgutil.iter_modules(pmmux.test.samples.__path__))
PROBES = find_probes()
SAMPLES = [(probe, sample) for probe in PROBES for sample in read_samples(probe)]


def others_of(probe: Probe) -> list[Probe]:
    return [other for other in PROBES if other.transport == probe.transport and other is not probe]


def find_faults(probe: Probe, octets: bytes, verdict: Verdict) -> Iterator[str]:
    """What is wrong with C{verdict} in itself, whatever the octets mean."""
    if verdict.matched is None and verdict.octets_needed <= len(octets):
        yield f"undecided, and asks for no more than it has: {verdict.octets_needed}"
    if verdict.matched and verdict.octets_needed and verdict.octets_needed <= len(octets):
        yield f"would find more in no more than it has: {verdict.octets_needed}"
    if verdict.matched is False and verdict.octets_needed:
        yield "refuses, and asks for more"
    if verdict.matched and verdict.fault is not None:
        yield "matches with a fault"
    if verdict.matched is None and verdict.properties:
        yield "undecided with properties"
    for name, value in verdict.properties.items():
        if not isinstance(value, str):
            yield f"{name} is not text"
        if not any(
            name == provided or (provided.endswith(".") and name.startswith(provided))
            for provided in probe.provides
        ):
            yield f"{name} is not in its provides"


def find_contradictions(shorter: Verdict, longer: Verdict) -> Iterator[str]:
    """How C{longer} takes back what C{shorter}, on a prefix, had decided."""
    if shorter.matched is False and (longer.matched is not False or longer.fault != shorter.fault):
        yield "a refusal was taken back"
    if shorter.matched and not longer.matched and longer.fault is None:
        yield "a match was taken back"
    if shorter.matched and longer.matched:
        for name, value in shorter.properties.items():
            if longer.properties.get(name) != value:
                yield f"{name} changed after it was found"


class CatalogueTests(SynchronousTestCase):
    def test_provide_the_interface(self) -> None:
        for probe in PROBES:
            verifyObject(IProbe, probe)
            self.assertIn(probe.transport, ("tcp", "udp"))

    def test_names_are_unique(self) -> None:
        names = [(probe.transport, probe.name) for probe in PROBES]
        self.assertEqual(sorted(set(names)), names)

    def test_every_probe_has_samples(self) -> None:
        missing = [samples_name(probe) for probe in PROBES if not read_samples(probe)]
        self.assertEqual(missing, [], "without pmmux/test/samples/NAME.py, or it is empty")

    def test_every_sample_has_a_probe(self) -> None:
        left = SAMPLE_MODULES - {samples_name(probe) for probe in PROBES}
        self.assertEqual(left, set(), "samples of no probe")


class PropertyTests(SynchronousTestCase):
    """Each test tries all that it tries and then reports all that is wrong."""

    def report(self, problems: list[str]) -> None:
        self.assertEqual(problems, [], "\n" + "\n".join(problems[:40]))

    def test_whole_samples_match(self) -> None:
        problems = []
        for probe, sample in SAMPLES:
            verdict = probe.inspect(sample)
            if verdict.matched is not True:
                problems.append(f"{samples_name(probe)} does not take {sample[:40]!r}: {verdict.fault}")
            problems += [
                f"{samples_name(probe)} on {sample[:40]!r}: {fault}"
                for fault in find_faults(probe, sample, verdict)
            ]
        self.report(problems)

    def test_no_prefix_of_a_sample_is_refused(self) -> None:
        problems = []
        for probe, sample in SAMPLES:
            if probe.transport != "tcp":
                continue
            before = probe.inspect(b"")
            for length in range(len(sample) + 1):
                verdict = probe.inspect(sample[:length])
                wrong = [*find_faults(probe, sample[:length], verdict)]
                wrong += find_contradictions(before, verdict)
                if verdict.matched is False:
                    wrong.append("refused")
                before = verdict
                problems += [
                    f"{samples_name(probe)} on {length} octets of {sample[:40]!r}: {fault}" for fault in wrong
                ]
        self.report(problems)

    def test_octets_asked_for_lead_to_a_match(self) -> None:
        # What an undecided probe asks for is what it is next called with.
        problems = []
        for probe, sample in SAMPLES:
            if probe.transport != "tcp":
                continue
            verdict = probe.inspect(b"")
            seen = 0
            while verdict.matched is None and seen < verdict.octets_needed <= len(sample):
                seen = verdict.octets_needed
                verdict = probe.inspect(sample[:seen])
            if not verdict.matched:
                problems.append(
                    f"{samples_name(probe)} asks for {verdict.octets_needed} of the {len(sample)}"
                    f" octets of {sample[:40]!r}"
                )
        self.report(problems)

    def test_no_other_probe_takes_a_sample(self) -> None:
        problems = []
        for probe, sample in SAMPLES:
            for other in others_of(probe):
                verdict = other.inspect(sample)
                expected = (probe.transport, probe.name, other.name) in EXPECTED_OVERLAPS
                if verdict.matched and not expected:
                    problems.append(f"{samples_name(other)} takes {probe.name}'s {sample[:40]!r}")
                if verdict.matched is False and verdict.fault is not None:
                    problems.append(f"{samples_name(other)} closes {probe.name}'s {sample[:40]!r}")
        self.report(problems)

    def test_every_expected_overlap_is_there(self) -> None:
        found = {
            (probe.transport, probe.name, other.name)
            for probe, sample in SAMPLES
            for other in others_of(probe)
            if other.inspect(sample).matched
        }
        self.assertEqual(set(EXPECTED_OVERLAPS) - found, set())

    def test_other_probes_do_not_waver(self) -> None:
        problems = []
        for probe, sample in SAMPLES:
            for other in others_of(probe) if probe.transport == "tcp" else ():
                before = other.inspect(b"")
                for length in range(1, min(len(sample), FOREIGN_PREFIX_LIMIT) + 1):
                    verdict = other.inspect(sample[:length])
                    problems += [
                        f"{samples_name(other)} on {length} octets of {sample[:40]!r}: {fault}"
                        for fault in find_contradictions(before, verdict)
                    ]
                    before = verdict
        self.report(problems)

    def test_random_octets_of_every_length(self) -> None:
        source = Random(20_26)
        problems = []
        for probe in PROBES:
            for length in range(RANDOM_LENGTH_LIMIT + 1):
                for _ in range(RANDOM_ROUNDS):
                    octets = source.randbytes(length)
                    problems += [
                        f"{samples_name(probe)} on {octets.hex()}: {fault}"
                        for fault in find_faults(probe, octets, probe.inspect(octets))
                    ]
        self.report(problems)

    @settings(deadline=None, max_examples=1_000, database=None, derandomize=True)
    @given(st.data())
    def test_changed_samples(self, data: st.DataObject) -> None:
        probe, sample = data.draw(st.sampled_from(SAMPLES))
        octets = bytearray(sample)
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(0, len(octets)))
            dropped = data.draw(st.integers(0, 3))
            octets[at : at + dropped] = data.draw(st.binary(max_size=3))
        whole = bytes(octets)
        verdict = probe.inspect(whole)
        self.assertEqual(list(find_faults(probe, whole, verdict)), [])
        self.assertEqual(probe.inspect(whole), verdict)
        if probe.transport == "tcp":
            prefix = whole[: data.draw(st.integers(0, len(whole)))]
            shorter = probe.inspect(prefix)
            self.assertEqual(list(find_faults(probe, prefix, shorter)), [])
            self.assertEqual(list(find_contradictions(shorter, verdict)), [])
