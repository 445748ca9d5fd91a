"""What leaks: how its victim is trained, what leaves it, and what its attacker may see."""
