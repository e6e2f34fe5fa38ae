"""Formats of episodes, one a file, and their registry; a user's own joins by :func:`register`."""

from rwmu.data.formats import csv, hdf5
from rwmu.data.formats.registry import Format, format_of, load, register, save

register(csv.FORMAT)
register(hdf5.FORMAT)

__all__ = ["Format", "format_of", "load", "register", "save"]
