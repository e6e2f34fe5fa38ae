"""Imagination: a learned model and a task made into an environment, and the penalty on what it does not know."""
