"""Uncertainty: estimates from what the members predict, metrics, intervals by resampling, recalibrations."""
