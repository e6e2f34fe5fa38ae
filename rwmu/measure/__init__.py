"""Measure what was learnt: model error, deployment, the gap between dream and reality, the report."""
