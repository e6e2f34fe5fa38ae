"""Tell what was measured: figures, pages, verdicts."""
