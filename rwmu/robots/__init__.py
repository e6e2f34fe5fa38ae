"""What is the robot: joints, posture, gains, contacts, mirrors, its model; one file a robot."""
