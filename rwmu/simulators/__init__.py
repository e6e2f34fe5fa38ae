"""Physics: the embedded MuJoCo simulator, the behaviour policies, and data collection."""
