"""The leaderboard and what follows from it, as plain data."""
