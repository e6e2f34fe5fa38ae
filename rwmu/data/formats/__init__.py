"""Formats of episodes, one a file, and their registry; a user's own joins by :func:`register`."""

from rwmu.data.formats.registry import Format, format_of, load, register, save

__all__ = ["Format", "format_of", "load", "register", "save"]
