"""torchmetrics classes over :mod:`rwmu.uncertainty.functional`: streaming, by member, step and dimension, safe over processes."""

from rwmu.uncertainty.metrics.calibration import (
    ENCE,
    AdversarialGroupCalibration,
    CalibrationCurve,
    MiscalibrationArea,
    QuantileCalibrationError,
)
from rwmu.uncertainty.metrics.diversity import EffectiveMembers, MemberErrorCorrelation, OutputCosine, PairwiseDisagreement
from rwmu.uncertainty.metrics.heads import HeadCalibrationError, HeadRate
from rwmu.uncertainty.metrics.ranking import AUSE, ErrorCorrelation, SparsificationCurve
from rwmu.uncertainty.metrics.scores import (
    Coverage,
    EnergyScore,
    GaussianCRPS,
    GaussianNLL,
    IntervalScore,
    IntervalWidth,
    SampleCRPS,
    Sharpness,
)

__all__ = [
    "AUSE",
    "ENCE",
    "AdversarialGroupCalibration",
    "CalibrationCurve",
    "Coverage",
    "EffectiveMembers",
    "EnergyScore",
    "ErrorCorrelation",
    "GaussianCRPS",
    "GaussianNLL",
    "HeadCalibrationError",
    "HeadRate",
    "IntervalScore",
    "IntervalWidth",
    "MemberErrorCorrelation",
    "MiscalibrationArea",
    "OutputCosine",
    "PairwiseDisagreement",
    "QuantileCalibrationError",
    "SampleCRPS",
    "Sharpness",
    "SparsificationCurve",
]
