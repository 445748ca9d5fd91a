"""Published claims beside what was measured here."""
