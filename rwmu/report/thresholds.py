"""Where verdicts change: the only numbers of judgement in the package, with what speaks for each."""

from __future__ import annotations

from rwmu.measure.exploit.dreams import PARTED_STANDARD_ERRORS
from rwmu.uncertainty.resampling import NEEDED

# -- the run: does it walk, and was the dream like reality? -------------------------------------------------------------------

# (least tracking of the commanded speed, at most so many falls an episode): reliably, and well enough.
RELIABLY, WALKS = (0.75, 0.05), (0.6, 0.2)
PARTLY_WALKS = 0.45  # tracking
# Relative gap of imagined and real return of a whole episode: little, roughly; of a return that is at least LEAST_RETURN.
LIKE_REALITY, ROUGHLY_REAL, LEAST_RETURN = 0.15, 0.4, 5.0
FEWEST_WINDOWS = 20  # below it a correlation says nothing
# Rank correlation of disagreement with error at one step, and at the longest horizon.
KNOWS_FIRST, KNOWS_LAST, KNOWS_SHORTLY = 0.7, 0.4, 0.5

# -- the exploit diagnostic ---------------------------------------------------------------------------------------------------

LEFT_SHARE = 0.05  # of the rows beyond what 99 in 100 held-out rows stay within: five times what the data themselves have
KNOWS_RANK, PARTLY_RANK = 0.7, 0.4  # rank correlation of disagreement with the error made, along a policy's own way
WARNING_RATIO = 1.5  # of a score to normal walking: a warning
FORETELLS, PARTLY_FORETELLS = 0.95, 0.8  # AUROC of a fall within five steps
FEWEST_STARTS = 5  # that fall: below it an AUROC says little, however many policies fall from them
FEW_STARTS = 20  # that fall: with fewer, what an interval over them says is said with a caution
NEGLIGIBLE_GAP, LARGE_GAP = 0.05, 0.15  # of the real reward a second
LEAST_RATE = 0.25  # reward a second: a gap is graded as a share of the real reward, or of this where that is smaller
STANDARD_ERRORS = PARTED_STANDARD_ERRORS  # beyond which a difference is more than chance

# -- calibration --------------------------------------------------------------------------------------------------------------

# At a rank correlation of 0.6, of two forecasts of the same depth the more uncertain one errs more in about 7 of 10 cases
# (Kendall's tau is then near 0.42, and (1 + tau) / 2 the share): enough to steer away from the worst.
RANKS = 0.6
# The lower end of the interval must still mean something: at 0.3 it is 6 of 10.
RANKS_AT_LEAST = 0.3
# Coverage within 5 points of 68.3 % means a scale right within about 12 %; within 5 points of 95 %, one not too small by more
# than 16 %.
COVERAGE_TOLERANCE = 0.05
# A scale that is right only because its intervals hold anything is of no use: at least half of them must say more than the data's
# mean and spread do.
INFORMATIVE = 0.5
# A fall is foreseen where three of four rows before one score above a row elsewhere, and chance is outside the interval.
FORESEES, CHANCE = 0.75, 0.5
# Falls are independent events as episodes are: fewer can be drawn in too few ways.
FEWEST_FALLS = NEEDED
# How far a dimension of the state may be off to be counted as near, in the description; nothing is passed or failed by it.
NEAR = 0.1

# -- how far ahead of a fall a score is judged, by the exploit diagnostic and by calibration ------------------------------------

JUDGED_STEPS = "5"
