"""Errors that a user can mend: one sentence that names the cause and the mend."""


class UserError(Exception):
    """Stop with one clear sentence; the entry points print it without a traceback and exit with status 2."""


class DataError(UserError):
    """Report a dataset that cannot be used as it is."""


class CheckpointError(UserError):
    """Report a checkpoint that does not fit what it is to be used with."""


class ConfigError(UserError):
    """Report a configuration value that makes no sense."""


class TrainingError(UserError):
    """Report a training that cannot go on: what became non-finite, and what to change."""


class MissingExtraError(UserError):
    """Report an optional dependency that is not installed, with the line that installs it."""
