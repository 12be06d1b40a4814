"""The port multiplexer: owns the listeners, and every connection that came in by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from pmmux import errors
from pmmux.clients import ClientLimits, is_announced
from pmmux.conditions import AllOf
from pmmux.connection import Connection
from pmmux.course import Course
from pmmux.course_services import CourseServices
from pmmux.datagram_listening import DatagramListener
from pmmux.datagrams.services import DatagramServices
from pmmux.datagrams.table import SessionTable
from pmmux.errors import ListenError
from pmmux.express import Arrival, ExpressLane
from pmmux.interfaces import IMultiplexer
from pmmux.listening import StreamListener
from pmmux.preview import Preview, PreviewTransport
from pmmux.session import Session
from pmmux.terminated import Terminated
from pmmux.terminating import make_lane
from pmmux.transport.accepting import ConnectionLimit
from pmmux.transport.datagram_sockets import open_datagram_sockets
from pmmux.transport.handover import SocketPool, pool_of
from pmmux.transport.sockets import (
    ListeningOptions,
    close_sockets,
    open_stream_sockets,
    set_listening_options,
)


@implementer(IMultiplexer)
class Multiplexer:
    """
    Listeners by name. They may be added and removed while it runs.

    @ivar preview_limit_octets: how much of what a client says may be looked at.
    @ivar courses: the connections that are open, by their identifiers.
    @ivar clients: who may connect; C{None} for anybody.
    @ivar datagram_services: what datagram listeners share; to be set before L{open}.
    @ivar identifiers: unique among connections and datagram sessions.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        data_path: Any,
        limit: ConnectionLimit,
        preview_limit_octets: int,
        backlog: int,
        log_finished: Callable[[Course | Session, str], None],
    ) -> None:
        """
        @param backlog: how many connections the system may hold for us to accept, per address.
        @param log_finished: called once for each connection that ended, with its outcome.
        """
        self.courses: dict[int, Course | Session | Arrival] = {}
        self.course_services: CourseServices
        self.services_for: Callable[[Any], CourseServices] = lambda spec: self.course_services
        self.listening_options = ListeningOptions()
        self.clients: ClientLimits | None = None
        self._lane: ExpressLane | None = None
        self._has_lane = False
        self._reactor = reactor
        self._data_path = data_path
        self._limit = limit
        self.preview_limit_octets = preview_limit_octets
        self._backlog = backlog
        self._log_finished = log_finished
        self._listeners: dict[str, Any] = {}
        self.identifiers: Iterator[int] = itertools.count(1)
        self._running = False
        self._empty: Deferred[None] | None = None
        self.datagram_services: DatagramServices
        self._draining: list[DatagramListener] = []

    def use(self, services: CourseServices, has_lane: bool) -> None:
        """
        Take what courses share; to be called before L{open}, and again where it has changed: then for
        what is accepted from now on.

        @param has_lane: whether the data path is one for the express lane.
        """
        self.course_services = services
        self._lane = None
        self._has_lane = has_lane
        if has_lane and not services.negotiates:
            self._lane = ExpressLane(
                services,
                self._data_path,
                self.preview_limit_octets,
                # What has waited in the lane goes on with the lane's own time-outs, whatever comes after it.
                lambda arrival, preview: self._begin(arrival, preview, services),
                self._wait,
            )
        for listener in self._listeners.values():
            if isinstance(listener, StreamListener):
                listener.route_by(*self._way(listener.spec))
                listener.clients = self._clients_for(listener.spec)

    def open(self, specs: Sequence[Any], pool: SocketPool | None = None) -> list[ListenError]:
        """
        Open the sockets of every listener in C{specs}, all or none, without accepting yet.

        @param specs: L{pmmux.config.settings.ListenerSpec}s
        @param pool: sockets that are open already.
        @return: every fault; empty where all are open.
        """
        made, faults = self.prepare(specs, pool=pool)
        self._listeners = {listener.spec.name: listener for listener in made}
        return faults

    def prepare(
        self, specs: Sequence[Any], leaving: Collection[str] = (), pool: SocketPool | None = None
    ) -> tuple[list[Any], list[ListenError]]:
        """
        Make listeners, without a change to those there are.

        @param leaving: names of listeners that will go; their sockets are taken over where they fit.
        @param pool: other sockets that are open already.
        @return: listeners for L{put}, and every fault; where there are faults, no listener.
        """
        if pool is None:
            pool = pool_of((name, self._listeners[name].sockets) for name in leaving)
            for listener in self._draining:
                for opened in listener.sockets:
                    pool.add(listener.spec.name, opened)
        made: list[Any] = []
        faults: list[ListenError] = []
        for spec in specs:
            try:
                made.append(self._open(spec, pool))
            except ListenError as error:
                faults.append(error)
        if faults:
            for listener in made:
                # Paths that were taken over belong to those that stay.
                taken = listener.spec.unix_path is not None and self._has_path(listener.spec.unix_path)
                listener.stop(removes_paths=not taken)
            made.clear()
        return made, faults

    def put(self, made: Sequence[Any], leaving: Collection[str], order: Sequence[str]) -> None:
        """
        Let those that L{prepare} made take the place of those that leave, without a gap.

        @param order: the names of all there will be, as they are to be listed.
        """
        paths = {listener.spec.unix_path for listener in made}
        taken = {place for listener in made for place in _datagram_places(listener)}
        for draining in tuple(self._draining):
            if not taken.isdisjoint(_datagram_places(draining)):
                # Its replies would leave by a socket that others read.
                draining.table.close(errors.OUTCOME_DRAIN_TIMEOUT)
        gone = [self._listeners.pop(name) for name in leaving]
        for listener in gone:
            if isinstance(listener, DatagramListener) and taken.isdisjoint(_datagram_places(listener)):
                self._drain(listener)
            else:
                listener.stop(removes_paths=listener.spec.unix_path not in paths)
        for listener in made:
            self._listeners[listener.spec.name] = listener
            if self._running:
                listener.start()
        rank = {name: place for place, name in enumerate(order)}
        names = sorted(self._listeners, key=lambda name: rank.get(name, len(rank)))
        self._listeners = {name: self._listeners[name] for name in names}

    def start(self) -> None:
        """Accept from now on."""
        self._running = True
        for listener in self._listeners.values():
            listener.start()

    def add_listener(self, spec: Any) -> None:
        """
        Open one more, and start it if the multiplexer runs.

        @raises ListenError: it cannot be opened; nothing of it stays open.
        """
        if spec.name in self._listeners:
            raise ListenError(spec.name, "its name", "there is a listener of that name already")
        made, faults = self.prepare([spec])
        for fault in faults:
            raise fault
        self.put(made, (), (*self._listeners, spec.name))

    def remove_listener(self, name: str) -> None:
        """
        Stop the listener C{name}; its connections live on, its sessions until they fall silent.

        @raises KeyError: there is none of that name.
        """
        self.put((), (name,), tuple(self._listeners))

    def _has_path(self, path: str) -> bool:
        return any(listener.spec.unix_path == path for listener in self._listeners.values())

    def listeners(self) -> tuple[Any, ...]:
        """All of them, in the order they were added."""
        return tuple(self._listeners.values())

    def session_tables(self) -> list[SessionTable]:
        """Of all datagram listeners, those that drain included."""
        listeners = (*self._listeners.values(), *self._draining)
        return [listener.table for listener in listeners if isinstance(listener, DatagramListener)]

    def gives_connections(self, member: Any) -> bool:
        """
        Whether any listener may give C{member} a connection, as far as its port and protocol tell: where
        none does it gets datagrams only.
        """
        condition = member.condition
        listening = [each for each in self._listeners.values() if isinstance(each, StreamListener)]
        if not isinstance(condition, AllOf):
            return bool(listening)
        probes = self.course_services.catalogue.probes
        return any(
            # A PROXY header may tell of another port.
            condition.can_match(probes, None if is_announced(each.spec) else each.addresses()[0].port)
            for each in listening
        )

    async def stop(self, drain_seconds: float) -> None:
        """
        Stop listening, let connections end within C{drain_seconds}, and close the rest.

        A second call while the first waits closes the rest at once.
        """
        self._running = False
        self._drain_datagrams()
        self._close()
        if self._empty is not None:
            self._close_courses()
            return
        if not self.courses and not self._draining:
            return
        self._empty = Deferred()
        timer = self._reactor.callLater(drain_seconds, self._close_courses)
        await self._empty
        if timer.active():
            timer.cancel()

    def _open(self, spec: Any, pool: SocketPool) -> StreamListener | DatagramListener:
        if spec.transport == "udp":
            bound = open_datagram_sockets(spec.name, spec.binds, spec.port, pool)
            return DatagramListener(spec, bound, self.datagram_services)
        way = self._way(spec)
        sockets = open_stream_sockets(spec.name, spec.binds, spec.port, spec.unix_path, self._backlog, pool)
        try:
            set_listening_options(spec.name, sockets, self.listening_options)
        except ListenError:
            close_sockets(sockets)
            raise
        listener = StreamListener(
            self._reactor,
            spec,
            sockets,
            self._limit,
            self.preview_limit_octets,
            self.identifiers,
            *way,
        )
        listener.clients = self._clients_for(spec)
        return listener

    def _clients_for(self, spec: Any) -> ClientLimits | None:
        clients = self.clients
        # Where a header tells who the client is, the course asks when it has told.
        return None if clients is None or is_announced(spec) or not clients.are_for(spec.name) else clients

    def _way(self, spec: Any) -> tuple[Callable[[Arrival, Preview], None], ExpressLane | None]:
        services = self.services_for(spec)

        def begin(arrival: Arrival, preview: Preview) -> None:
            self._begin(arrival, preview, services)

        # The lane runs the chain that all have; one of a listener's own, where TLS is all it adds.
        lane = self._lane if services is self.course_services else None
        if lane is None and self._has_lane:
            lane = make_lane(
                services, self._data_path, self.preview_limit_octets, begin, self._wait, self._begin
            )
        return begin, lane

    def _close(self) -> None:
        listeners, self._listeners = self._listeners, {}
        for listener in listeners.values():
            listener.stop()

    def _close_courses(self) -> None:
        for course in tuple(self.courses.values()):
            course.close(errors.OUTCOME_DRAIN_TIMEOUT)
        for listener in tuple(self._draining):
            listener.table.close(errors.OUTCOME_DRAIN_TIMEOUT)

    def _drain_datagrams(self) -> None:
        # Sessions need their listener's sockets for replies.
        for listener in tuple(self._listeners.values()):
            if isinstance(listener, DatagramListener):
                del self._listeners[listener.spec.name]
                self._drain(listener)

    def _drain(self, listener: DatagramListener) -> None:
        self._draining.append(listener)
        listener.drain(partial(self._drained, listener))

    def _drained(self, listener: DatagramListener) -> None:
        self._draining.remove(listener)
        listener.stop()
        self._check_empty()

    def _begin(
        self,
        arrival: Arrival,
        preview: Preview,
        services: CourseServices | None = None,
        terminated: Terminated | None = None,
    ) -> None:
        """Let a connection take its general course."""

        def opened(stream: PreviewTransport) -> None:
            connection = Connection(
                arrival.identifier, arrival.listener, arrival.client, stream, arrival.opened_at
            )
            course = Course(services or self.course_services, connection)
            self.courses[arrival.identifier] = course
            if terminated is not None:
                terminated.describe(connection)
                if terminated.refused is not None:
                    course.refuse(terminated.refused)
                    return
            course.start(arrival.timeout)
            if arrival.closed_with and arrival.identifier in self.courses:
                # Silence may have found it a backend.
                self.courses[arrival.identifier].close(arrival.closed_with)

        def build() -> PreviewTransport:
            stream = PreviewTransport(self.preview_limit_octets, opened, preview=preview)
            return stream if terminated is None else terminated.lay_under(stream)

        try:
            # While there is a socket to ask: the data path may keep a duplicate of its own.
            _ = arrival.client.local
            if arrival.is_registered:
                self._data_path.accept(arrival.sock, build, True)
            else:
                self._data_path.accept(arrival.sock, build)
        except OSError as error:
            # It has gone already, or there was no descriptor for it.
            arrival.sock.close()
            if arrival.timeout is not None:
                (services or self.course_services).first_octet_timeouts.cancel(arrival.timeout)
            self.courses.pop(arrival.identifier, None)
            self._limit.give_back()
            if self.clients is not None:
                self.clients.leave(arrival.identifier)
            self._check_empty()
            self.log.info("a connection was lost while it was accepted: {error}", error=str(error))

    def _wait(self, arrival: Arrival) -> None:
        self.courses[arrival.identifier] = arrival

    def taken_up(self, session: Session) -> None:
        """For L{CourseServices}: a connection is routed, and its octets begin to flow."""
        self.courses[session.identifier] = session

    def finished(self, course: Course | Session, outcome: str) -> None:
        """For L{CourseServices}: one connection ended."""
        del self.courses[course.identifier]
        self._limit.give_back()
        if self.clients is not None:
            self.clients.leave(course.identifier)
        self._log_finished(course, outcome)
        if self._empty is not None:
            self._check_empty()

    def _check_empty(self) -> None:
        if self._empty is not None and not self.courses and not self._draining:
            empty, self._empty = self._empty, None
            empty.callback(None)


def _datagram_places(listener: Any) -> set[tuple[str, int]]:
    if not isinstance(listener, DatagramListener):
        return set()
    return {(address.host, address.port) for address in listener.addresses()}
