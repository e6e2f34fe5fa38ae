"""What the model knows, as text and curves beside the scene: doubts and errors of the latest seconds, and the verdicts on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rwmu.view.judgement import STOPS, Scale, Verdict
from rwmu.view.session import Session

_KINDS = {"next_": "One step ahead", "": "In the dream"}
_DOUBT, _ERROR, _LIMIT = "#111827", "#009E73", "#C81E14"  # none of them a colour of doubt but the limit, which is its end
_BADGES = {
    Verdict.SURE_AND_RIGHT: "#0072B2",
    Verdict.DOUBTS_AND_RIGHT: "#B57A00",
    Verdict.DOUBTS_AND_ERRS: "#C81E14",
    Verdict.SURE_AND_ERRS: "#7B1FA2",
}
_RANGE = (0.02, 20.0)  # of what is plotted, in units of the upper hundredth


class Gauges:
    """A panel at the right edge.

    Args:
        server: of viser. session: what is shown.
    """

    def __init__(self, server: Any, session: Session) -> None:
        self._session = session
        self._length_s = (session.strips.maxlen or 0) * session.task.step_dt
        panel, gui = server.gui.add_panel(), server.gui
        with panel.add_tab("What the model knows"):
            gui.add_html(_LEGEND)
            if session.usual.next_disagreement.extreme == 0.0:
                gui.add_html(_boxed("This world model has one member, and so no disagreement: it cannot doubt."))
            self._texts, self._plots = {}, {}
            for kind, title in _KINDS.items():
                self._texts[kind] = gui.add_html(_boxed(f"<b>{title}</b>"))
                self._plots[kind] = self._plot(gui)
            self._speed = gui.add_html("")
        panel.dock_right()
        panel.set_width(390)

    def _plot(self, gui: Any) -> Any:
        series: tuple[dict[str, Any], ...] = (
            {"label": "s"},
            {"label": "doubt", "stroke": _DOUBT, "width": 1.5},
            {"label": "error", "stroke": _ERROR, "width": 1.5},
            {"label": "upper hundredth", "stroke": _LIMIT, "width": 1, "dash": (6, 4)},
        )
        none = np.array([-self._length_s, 0.0])
        return gui.add_uplot(
            (none, *[np.full(2, _RANGE[0])] * 2, np.ones(2)),
            series,
            scales={"x": {"time": False, "range": (-self._length_s, 0.0)}, "y": {"distr": 3, "range": _RANGE}},
            axes=({"size": 24}, {"size": 40, "grid": {"show": False}, "ticks": {"show": False}}),
            legend={"show": False},
            height=150,
        )

    def draw(self) -> None:
        """Show the latest strips and verdicts."""
        curves, usual = self._session.curves(), self._session.usual
        time_s, known = curves["time_s"] - curves["time_s"][-1], np.isfinite(curves["next_error"])
        verdicts = self._session.verdicts() or (None, None)
        for (kind, title), judged in zip(_KINDS.items(), verdicts, strict=True):
            doubt, error = curves[f"{kind}disagreement"], curves[f"{kind}error"]
            scales: tuple[Scale, Scale] = getattr(usual, f"{kind}disagreement"), getattr(usual, f"{kind}error")
            lines = [np.clip(scale.relative(values), *_RANGE) for values, scale in zip((doubt, error), scales, strict=True)]
            if known.any():
                self._plots[kind].data = (time_s[known], *(line[known] for line in lines), np.ones(known.sum()))
            self._texts[kind].content = _boxed(_told(title, judged, float(doubt[-1]), float(error[-1]), *scales))

    def tell_speed(self, factor: float) -> None:
        """Say how fast the page goes; ``factor`` is 1 in real time."""
        text = "in real time" if factor > 0.97 else f"at {factor:.2f} of real time: this machine is busy"
        self._speed.content = _boxed(f'<span style="color:#6B7280">Runs {text}.</span>')


def _told(title: str, judged: Verdict | None, doubt: float, error: float, usual_doubt: Scale, usual_error: Scale) -> str:
    """Return a line with the verdict, and one with both numbers as bars."""
    if judged is None:
        return f"<b>{title}</b> &middot; waiting for a history"
    badge = f'<span style="background:{_BADGES[judged]};color:white;border-radius:4px;padding:1px 7px">{judged.value}</span>'
    bars = _bar("doubt", _DOUBT, doubt, usual_doubt) + _bar("error", _ERROR, error, usual_error)
    return f"<b>{title}</b> {badge}{bars}"


def _bar(name: str, line: str, value: float, usual: Scale) -> str:
    """Return a bar that is full at the upper hundredth."""
    if not np.isfinite(value):
        return ""
    share = 100.0 * usual.place(value)
    red, green, blue = usual.colours([value])[0].tolist()
    bar = f'<div style="height:9px;width:{share:.0f}%;background:rgb({red},{green},{blue});border-radius:4px"></div>'
    frame = f'<div style="flex:1;background:#E5E7EB;border-radius:4px">{bar}</div>'
    key = f'<span style="width:58px"><span style="color:{line}">&#9632;</span> {name}</span>'
    label = f'{key}{frame}<span style="width:40px;text-align:right">{value:.2f}</span>'
    return f'<div style="display:flex;align-items:center;gap:8px;margin-top:3px">{label}</div>'


def _boxed(content: str) -> str:
    return f'<div style="padding:4px 12px 2px;font-size:13px;line-height:1.5">{content}</div>'


def _gradient(stops: NDArray[np.float64]) -> str:
    return ",".join(f"rgb({red:.0f},{green:.0f},{blue:.0f})" for red, green, blue in stops)


_SCALE = f"height:10px;border-radius:4px;margin:4px 0 1px;background:linear-gradient(90deg,{_gradient(STOPS[[0, 0, 1, 2]])})"
_LEGEND = _boxed(
    "<b>Doubt</b>: how much the members disagree about the next step. <b>Error</b>: how far they are off. Ghosts have the colour "
    "of their doubt, on the scale of episodes that the model was not trained on:"
    f'<div style="{_SCALE}"></div><div style="display:flex;text-align:right"><span style="width:33%">half</span>'
    '<span style="width:34%">9 of 10</span><span style="width:33%">99 of 100 are less</span></div>'
    f'Curves are multiples of the last, the line <span style="color:{_LIMIT}">- - -</span>. Wrong, and in doubt, is what lies '
    "beyond it."
)
