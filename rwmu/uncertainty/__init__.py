"""Uncertainty: estimates from what the members predict, statistics, intervals by resampling, recalibrations."""
