"""The page of a calibration analysis."""
