from __future__ import annotations

from collections.abc import Callable

import pytest


class SlowingMachine:
    """A clock that stands still but for what the functions under test take, and the record of their calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.slowness, self.calls = 0.0, 1.0, list[str]()
        monkeypatch.setattr("time.perf_counter", lambda: self.now)
        monkeypatch.setattr("time.process_time", lambda: self.now / 2)

    def function(self, name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            self.calls.append(name)
            self.now += seconds * self.slowness
            self.slowness *= 1.01  # the machine gets ever slower

        return call
