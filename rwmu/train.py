"""Train: ``python -m rwmu.train +experiment=mopo_ensemble5`` goes from nothing to a deployed policy and its report.

Stages can be run alone (``stages=[dynamics]``) and take finished parts (``trainer.checkpoint=PATH``, ``policy.checkpoint=PATH``);
an interrupted run goes on (``resume=RUN_DIR``).
"""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from rwmu.runs.command_line import command

BARE = (
    "Say what to train: +experiment=mopo_ensemble5 is the whole method (20 to 40 minutes), with scale=smoke a first look at it "
    "(a minute); python -m rwmu.train --help says more."
)


@command("train", BARE)
def main(config: DictConfig) -> None:
    """Build the objects of one configuration, and do what they are for: configuration stops here."""
    # What computes is imported once the settings have been checked: torch and Lightning take seconds.
    from rwmu.runs.experiment import build
    from rwmu.runs.opening import settle
    from rwmu.runs.training import train

    settle(config)
    experiment = build(config)
    config.data.path = str(experiment.data_path.absolute())
    train(experiment, OmegaConf.to_yaml(config, resolve=True))


if __name__ == "__main__":
    main()
