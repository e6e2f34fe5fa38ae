"""``rwmu train +experiment=rwm_base`` is ``python -m rwmu.train +experiment=rwm_base``, and so for every command."""

from __future__ import annotations

import importlib
import os
import sys

from rwmu.errors import ConfigError, told_in_one_sentence
from rwmu.settings import close_match

COMMANDS = {
    "train": ("rwmu.train", "from data to a deployed policy and its report"),
    "collect": ("rwmu.collect", "a dataset, in a simulator"),
    "evaluate": ("rwmu.evaluate", "a finished run, measured again; where its policy exploits the model"),
    "play": ("rwmu.play", "a video of a run's policy"),
    "view": ("rwmu.view.__main__", "a run in the browser: the robot, its dream, and whether the model knows where it errs"),
    "compare": ("rwmu.compare", "finished runs side by side"),
    "audit": ("rwmu.data.audit.__main__", "what is doubtful in a dataset"),
    "convert": ("rwmu.data.convert", "a dataset of another tool, or for one"),
    "export": ("rwmu.export", "a run's world model and policy as ONNX, in a folder for others"),
    "published": ("rwmu.dynamics.published", "a world model of the published code, read or written"),
    "older": ("rwmu.policy.older", "a policy of rsl-rl before its version 4, read or written"),
}
COMPLETED = ("train", "collect", "evaluate", "play", "view", "export")  # by Hydra: the others take files


def main() -> None:
    """Call the command that the first argument names with the others."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print("rwmu COMMAND ..., each with --help:\n")
        print("\n".join(f"  {command:10} {does}" for command, (_, does) in COMMANDS.items()))
        return
    if name == "-sc":
        _complete(sys.argv[2:])
        return
    with told_in_one_sentence():
        if name not in COMMANDS:
            match = close_match(name, COMMANDS) or f"; choose from {', '.join(COMMANDS)}."
            raise ConfigError(f"There is no command '{name}'{match}")
    sys.argv = [f"rwmu {name}", *sys.argv[2:]]
    importlib.import_module(COMMANDS[name][0]).main()


def _complete(arguments: list[str]) -> None:
    """Answer the shell: ``install=bash`` prints Hydra's script, by which it asks for words; those of a command Hydra knows."""
    line = os.environ.get("COMP_LINE", "")
    _, _, after = line.partition(" ")
    name, space, rest = after.partition(" ")
    asked = arguments[:1] and arguments[0].startswith("query")
    if asked and not space:
        print(" ".join(COMMANDS))
    elif not asked or name in COMPLETED:
        os.environ["COMP_LINE"] = f"rwmu {rest}"
        sys.argv = ["rwmu", "-sc", *arguments]
        importlib.import_module(COMMANDS[name if asked else "train"][0]).main()


if __name__ == "__main__":
    main()
