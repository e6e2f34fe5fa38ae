"""What the calibration of a world model means."""
