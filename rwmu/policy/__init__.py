"""The policy: rsl-rl actor and PPO, and behaviour cloning."""
