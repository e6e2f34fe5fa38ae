"""Uncertainty-aware robotic world models: learn dynamics from logs, optimise a policy inside, know when not to trust it."""

__version__ = "0.1.0"
