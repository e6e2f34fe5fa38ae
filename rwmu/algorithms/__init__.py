"""The whole procedures: offline (MOPO-PPO)."""
