"""What follows from the leaderboard: answers, findings, confirmation, and words for what was recovered."""
