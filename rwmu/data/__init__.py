"""Offline data: episodes, their splits and windows, the normaliser, and the formats they are stored in."""
