"""The screen of C{pmmuxctl top}, on urwid. Needs the extra C{top}."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import urwid

from pmmux.control.client import ControlClient, UnreachableError
from pmmux.control.commands.routes import show_route
from pmmux.control.protocol import CommandError
from pmmux.control.tables import cell
from pmmux.control.top.overview import Line, Overview

REFRESH_SECONDS = 1.0
ROUTES_SHOWN = 200
CALL_SECONDS = 5.0
# It fits a narrow screen; Space is another key for p.
KEYS = "Tab list  Enter trace  d drain  x disable  e enable  r refused  p pause  q quit"
# Of the heads, the foot and the gaps; the backends take at most half of what is left.
_FRAME_ROWS = 7
_PALETTE = [
    ("heading", "white,bold", "dark blue"),
    ("title", "bold", ""),
    ("good", "", ""),
    ("bad", "light red", ""),
    ("aside", "dark gray", ""),
    ("focus", "black", "light gray"),
    ("message", "yellow", ""),
    ("keys", "dark cyan", ""),
]
_STEERING = {"d": "drain", "x": "disable", "e": "enable"}


class _Row(urwid.WidgetWrap):  # type: ignore[misc]
    """One line that can be chosen."""

    def __init__(self, line: Line) -> None:
        self.identity = line.identity
        text = urwid.Text(line.text, wrap="clip")
        super().__init__(urwid.AttrMap(text, line.style or None, "focus"))

    def selectable(self) -> bool:
        return True

    def keypress(self, size: Any, key: str) -> str:
        return key


class _Table:
    """A list that keeps what is chosen in it while it changes."""

    def __init__(self) -> None:
        self.titles = urwid.Text("", wrap="clip")
        self.walker = urwid.SimpleFocusListWalker([])
        self.widget = urwid.Frame(urwid.ListBox(self.walker), urwid.AttrMap(self.titles, "title"))

    def show(self, lines: Sequence[Line], follows_first: bool = False) -> None:
        """@param follows_first: whether the first is chosen, whichever it is now."""
        chosen = None if follows_first else self.chosen()
        self.titles.set_text(lines[0].text)
        self.walker[:] = [_Row(line) for line in lines[1:]]
        if self.walker:
            places = (at for at, each in enumerate(self.walker) if each.identity == chosen)
            self.walker.set_focus(next(places, 0))

    def chosen(self) -> Any:
        row, _ = self.walker.get_focus()
        return None if row is None else row.identity

    def place(self) -> int:
        """How far down what is chosen stands."""
        _, place = self.walker.get_focus()
        return place or 0


class Screen:
    """Asks once a second, and shows."""

    def __init__(self, connect: Callable[[], ControlClient]) -> None:
        """@param connect: connects anew; raises L{UnreachableError}."""
        self._connect = connect
        self._client: ControlClient | None = None
        self._overview = Overview()
        self._is_paused = False
        self._refused_only = False
        self._asked: tuple[str, str] | None = None
        self._heading = urwid.Text("", wrap="clip")
        self._totals = urwid.Text("", wrap="clip")
        self._message = urwid.Text("", wrap="clip")
        self._backends = _Table()
        self._routes = _Table()
        gap = urwid.SolidFill(" ")
        self._tables = urwid.Pile(
            [("weight", 2, self._backends.widget), (1, gap), ("weight", 3, self._routes.widget)]
        )
        head = urwid.Pile([urwid.AttrMap(self._heading, "heading"), self._totals, urwid.Divider()])
        keys = urwid.AttrMap(urwid.Text(KEYS, wrap="clip"), "keys")
        foot = urwid.Pile([urwid.AttrMap(self._message, "message"), keys])
        self._main = urwid.Frame(self._tables, head, foot)
        self._loop = urwid.MainLoop(self._main, _PALETTE, unhandled_input=self._take_key)

    def run(self) -> None:
        """Show until somebody quits."""
        self._refresh()
        self._loop.set_alarm_in(REFRESH_SECONDS, self._tick)
        try:
            self._loop.run()
        finally:
            self._disconnect()

    def _tick(self, loop: Any, _: object = None) -> None:
        if not self._is_paused:
            self._refresh()
        loop.set_alarm_in(REFRESH_SECONDS, self._tick)

    # What is shown.

    def _refresh(self) -> None:
        def ask(client: ControlClient) -> None:
            self._overview.take(
                client.call("status", CALL_SECONDS),
                client.call("backends.list", CALL_SECONDS),
                client.call("trace.list", CALL_SECONDS, limit=ROUTES_SHOWN),
                time.monotonic(),
            )

        if self._ask(ask):
            self._show()

    def _show(self) -> None:
        overview = self._overview
        self._heading.set_text(("PAUSED  " if self._is_paused else "") + overview.heading())
        self._totals.set_text("\n".join(overview.totals()))
        backends = overview.backend_lines()
        self._backends.show(backends)
        # The newest is on top, unless somebody has gone down to another.
        has_gone_down = self._tables.focus_position != 0 and self._routes.place() > 0
        self._routes.show(overview.route_lines(self._refused_only), follows_first=not has_gone_down)
        _, rows = self._loop.screen.get_cols_rows()
        height = max(2, min(len(backends), (rows - _FRAME_ROWS) // 2))
        self._tables.contents[0] = (self._backends.widget, self._tables.options("given", height))

    def _ask(self, what: Callable[[ControlClient], None]) -> bool:
        try:
            if self._client is None:
                self._client = self._connect()
                self._message.set_text("")
            what(self._client)
        except UnreachableError as error:
            self._disconnect()
            self._message.set_text(f"{cell(str(error), 200)}; trying again")
        except CommandError as error:
            self._message.set_text(cell(str(error), 200))
        else:
            return True
        return False

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    # Keys.

    def _take_key(self, key: Any) -> None:
        if self._asked is not None:
            self._answer(key)
            return
        if self._loop.widget is not self._main:
            self._loop.widget = self._main
            return
        self._message.set_text("")
        if key in ("q", "Q", "ctrl c"):
            raise urwid.ExitMainLoop
        elif key == "tab":
            self._tables.focus_position = 2 if self._tables.focus_position == 0 else 0
        elif key == "r":
            self._refused_only = not self._refused_only
            self._show()
        elif key in ("p", " "):
            self._is_paused = not self._is_paused
            self._show()
        elif key == "enter":
            self._open_trace()
        elif key in _STEERING:
            self._begin_steering(_STEERING[key])

    def _begin_steering(self, what: str) -> None:
        name = self._backends.chosen()
        if self._tables.focus_position == 0 and name is not None:
            self._asked = (what, name)
            self._message.set_text(f"{what} {cell(name)}? y to do it")

    def _answer(self, key: Any) -> None:
        assert self._asked is not None
        (what, name), self._asked = self._asked, None
        self._message.set_text("")
        if key in ("y", "Y") and self._ask(lambda client: self._steer(client, what, name)):
            self._refresh()

    def _steer(self, client: ControlClient, what: str, name: str) -> None:
        state = client.call(f"backends.{what}", CALL_SECONDS, name=name)
        self._message.set_text(f"{cell(name)} is {cell(state['status'])}, {state['active']} open")

    def _open_trace(self) -> None:
        identity = self._routes.chosen()
        # It may leave the ring any time; here it is still known, if in fewer words.
        route = next((each for each in self._overview.routes if each["id"] == identity), None)
        if self._tables.focus_position == 0 or route is None:
            return
        told = [route]
        self._ask(lambda client: told.append(client.call("trace.show", CALL_SECONDS, id=identity)))
        texts = [urwid.Text(line) for line in show_route(dict(told[-1]))]
        lines = urwid.ListBox(urwid.SimpleListWalker(texts))
        box = urwid.LineBox(lines, f"connection {identity} (up and down scroll, any other key closes)")
        self._loop.widget = urwid.Overlay(
            box, self._main, "center", ("relative", 90), "middle", ("relative", 80)
        )
