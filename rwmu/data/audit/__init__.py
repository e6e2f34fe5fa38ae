"""Look at a dataset before anything is trained on it: what cannot be used stops, what is doubtful is said.

``python -m rwmu.data.audit PATH`` prints a table of findings; a run does the same before it trains.
"""

from rwmu.data.audit.checks import examine
from rwmu.data.audit.findings import Finding, brief, require_sound
from rwmu.data.audit.view import AuditSettings
from rwmu.data.fitness import UnfitDataError, audit

__all__ = ["AuditSettings", "Finding", "UnfitDataError", "audit", "brief", "examine", "require_sound"]
