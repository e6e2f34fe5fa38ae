"""What may be moved and pressed: sliders are read at every step, everything else is done between two steps."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch

from rwmu.errors import UserError
from rwmu.view.opening import Opened
from rwmu.view.scene import Scene
from rwmu.view.sources import Simulated

_AXES = ("forward, m/s", "left, m/s", "turn, rad/s")
_BEYOND = 1.5  # times what the policy was trained for, sliders go
SIMULATOR, RECORDED = "simulator", "recorded episode"
_OWN, _REPEATED = "policy", "robot's actions"


class Controls:
    """A panel at the left edge.

    Args:
        server: of viser; its threads only queue what is to be done.

    Attributes:
        paused: whether time stands still. steps: to be done all the same.
    """

    def __init__(self, server: Any, opened: Opened, scene: Scene) -> None:
        self._gui, self._opened, self._session, self._scene = server.gui, opened, opened.session, scene
        self._todo: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.paused, self.steps = False, 0
        self._generator = np.random.default_rng(0)
        self._add_time()
        self._add_command()
        self._add_source()
        self._add_dream()
        self._gui.main_panel.dock_left()
        self._gui.main_panel.set_width(310)

    # -- between two steps ----------------------------------------------------------------------------------------------------

    def apply(self) -> None:
        """Do what has been asked for, and let sliders count."""
        while not self._todo.empty():
            try:
                self._todo.get()()
            except UserError as error:
                self._note.content = str(error)
        if self._opened.simulated is not None:
            self._opened.simulated.command = torch.tensor([slider.value for slider in self._command])
        self._session.restart_s, self._scene.aside_m = self._restart_s.value, self._aside_m.value
        lain_s = self._session.fallen_s
        if lain_s is not None and lain_s > 2.0 and self._gets_up.value and isinstance(self._session.source, Simulated):
            self._session.begin()

    def _on(self, handle: Any, event: str, action: Callable[[], None]) -> None:
        getattr(handle, event)(lambda _: self._todo.put(action))

    def _button(self, label: str, action: Callable[[], None], hint: str) -> Any:
        button = self._gui.add_button(label, hint=hint)
        self._on(button, "on_click", action)
        return button

    # -- what there is --------------------------------------------------------------------------------------------------------

    def _add_time(self) -> None:
        actions = {"pause": self._toggle, "one step": self._step, "new episode": self._begin}
        time = self._gui.add_button_group("time", tuple(actions), hint="pause stops time or lets it go on; one step pauses first.")
        self._on(time, "on_click", lambda: actions[time.value]())
        self._gets_up = self._gui.add_checkbox("start again 2 s after a fall", True)
        self._note = self._gui.add_markdown(self._opened.absent)

    def _toggle(self) -> None:
        self.paused = not self.paused

    def _step(self) -> None:
        if not self.paused:
            self._toggle()
        self.steps += 1

    def _begin(self) -> None:
        self._session.begin()

    def _add_command(self) -> None:
        task = self._session.task
        simulated = self._opened.simulated
        given = [0.0] * 3 if simulated is None else [round(value, 3) for value in simulated.command.tolist()]
        self._command = []
        with self._gui.add_folder("Command", visible=simulated is not None):
            for label, most, value in zip(_AXES, task.command_range, given, strict=True):
                end = max(_BEYOND * most, abs(value), 0.1)
                marks = ((-most, ""), (0.0, "0"), (most, "trained"))
                slider = self._gui.add_slider(label, -end, end, 0.05, value, marks=marks if most else None)
                self._command.append(slider)
            self._push_speed = self._gui.add_slider("push, m/s", 0.1, 4.0, 0.1, 1.5)
            self._button("Push", self._push, "Kick the base, and that of its dream, in a random direction.")

    def _push(self) -> None:
        angle = self._generator.uniform(0.0, 2.0 * np.pi)
        self._session.push(self._push_speed.value * torch.tensor([np.cos(angle), np.sin(angle)], dtype=torch.float32))

    def _add_source(self) -> None:
        opened = self._opened
        with self._gui.add_folder("Robot"):
            kinds = [RECORDED] if opened.simulated is None else [SIMULATOR, RECORDED]
            playing = SIMULATOR if isinstance(self._session.source, Simulated) else RECORDED
            self._source = self._gui.add_dropdown("moved by", kinds, initial_value=playing)
            self._policy = self._gui.add_dropdown("policy", list(opened.policies), visible=opened.simulated is not None)
            first = getattr(self._session.source, "episode", 0)
            self._episode = self._gui.add_number("episode", first, min=0, max=opened.episodes.num_episodes - 1, step=1)
        self._on(self._source, "on_update", self._change_source)
        self._on(self._episode, "on_update", self._change_episode)
        self._on(self._policy, "on_update", self._change_policy)

    def _change_source(self) -> None:
        simulated = self._opened.simulated
        if self._source.value == SIMULATOR and simulated is not None:
            self._session.source, self._note.content = simulated, ""
        else:
            episode = int(self._episode.value)
            self._session.source = self._opened.recorded(episode)
            self._note.content = f"Episode {episode}: policy *{self._opened.episodes.levels[episode]}*."
        self._session.begin()

    def _change_episode(self) -> None:
        if self._source.value == RECORDED:
            self._change_source()

    def _change_policy(self) -> None:
        if self._opened.simulated is not None:
            self._opened.simulated.actor = self._opened.policies[self._policy.value]()
            self._change_actor()

    def _add_dream(self) -> None:
        with self._gui.add_folder("Dream"):
            self._restart_s = self._gui.add_slider("anew every, s", 0.2, 10.0, 0.2, self._session.restart_s)
            self._aside_m = self._gui.add_slider("aside, m", 0.0, 3.0, 0.1, self._scene.aside_m)
            self._actor = self._gui.add_dropdown("moved by", [_REPEATED, _OWN], visible=self._opened.simulated is not None)
            self._button("Begin anew", self._session.restart_dream, "From the robot's present history.")
        self._on(self._actor, "on_update", self._change_actor)

    def _change_actor(self) -> None:
        simulated = self._opened.simulated
        own = self._actor.value == _OWN and simulated is not None
        self._session.dreaming_actor = simulated.actor if own and simulated is not None else None
