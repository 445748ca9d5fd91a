"""Checking somebody's numbers: scores measured again, cells run again, pictures looked at."""
