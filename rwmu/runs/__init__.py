"""One run: its folder, its card, what a user wrote of it."""
