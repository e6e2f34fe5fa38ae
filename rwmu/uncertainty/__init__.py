"""Uncertainty: estimates from what the members predict."""
