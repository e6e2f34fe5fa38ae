"""The task: what a state means, what is observed, commanded and rewarded; one object for simulator, dream and evaluation."""
