"""The page: a server, and a loop that moves the robot in real time while somebody looks."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import time
from typing import Any

from rwmu.errors import UserError
from rwmu.view.body import Body
from rwmu.view.controls import Controls
from rwmu.view.gauges import Gauges
from rwmu.view.opening import Opened
from rwmu.view.scene import Scene, import_viser
from rwmu.view.session import Frame

_FRAME_S = 0.04  # between two pictures
_GAUGE_S = 0.2  # between two pictures of the curves
_BEHIND_S = 0.2  # a loop further behind than that gives up catching up
_IDLE_S = 0.05


def require_free(host: str, port: int) -> None:
    """Refuse a place where no page can be served.

    Raises:
        UserError: the port is taken, or cannot be had.
    """
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a page that has just ended is no other
        try:
            tried.bind((host, port))
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"The page cannot be served at {host}:{port} ({reason}); give another port, as port=8081.") from None


def serve(host: str, port: int) -> Any:
    """Return a server of viser, which says nothing of its own."""
    viser = import_viser()
    logging.getLogger("websockets").setLevel(logging.WARNING)
    with contextlib.redirect_stdout(io.StringIO()):
        return viser.ViserServer(host=host, port=port, label="rwmu", verbose=False)


class Page:
    """A run in the browser.

    Args:
        server: of viser.
    """

    def __init__(self, server: Any, opened: Opened) -> None:
        session = opened.session
        self._server, self._session, self._step_dt = server, session, session.task.step_dt
        server.gui.configure_theme(show_logo=False, show_share_button=False)
        robot = session.task.robot
        self._scene = Scene(server, Body(robot), robot.base_height, session.dream.num_members)
        self._controls = Controls(server, opened, self._scene)
        self._gauges = Gauges(server, session)
        self._since, self._steps = time.perf_counter(), 0
        self._frame: Frame | None = None

    def run(self) -> None:
        """Go on until interrupted; time stands still while nobody looks."""
        due = drawn = gauged = 0.0
        while True:
            self._controls.apply()
            if self._controls.steps == 0 and (self._controls.paused or not self._server.get_clients()):
                self._rest()
                continue
            self._controls.steps = max(0, self._controls.steps - 1)
            self._frame, now = self._session.step(), time.perf_counter()
            self._steps += 1
            if now - drawn >= _FRAME_S:
                self._scene.draw(self._frame, self._session.usual.disagreement)
                drawn = now
            if now - gauged >= _GAUGE_S:
                self._gauges.draw()
                gauged = now
            self._tell_speed()
            due = max(due + self._step_dt, time.perf_counter() - _BEHIND_S)
            time.sleep(max(0.0, due - time.perf_counter()))

    def _rest(self) -> None:
        """Show the latest step, and wait a little."""
        if self._frame is not None:
            self._scene.draw(self._frame, self._session.usual.disagreement)
            self._gauges.draw()
            self._frame = None
        time.sleep(_IDLE_S)
        self._since, self._steps = time.perf_counter(), 0

    def _tell_speed(self) -> None:
        """Say once a second how fast it goes."""
        passed = time.perf_counter() - self._since
        if passed > 1.0:
            self._gauges.tell_speed(self._steps * self._step_dt / passed)
            self._since, self._steps = time.perf_counter(), 0
