"""Look at a run in a browser: the robot, its dream beside it, and whether the model knows where it errs."""
