"""Pure functions behind the metrics: scores of one row, calibration, ranking and diversity of many."""
