"""``bench audit``: one defense against the whole attack suite, and a page that says how it did.

:mod:`suite` decides what is run, :mod:`verdict` reads the leaderboard for one defense, :mod:`page` writes it
down. Nothing here measures anything: checks come from :mod:`bench.check`, records from :mod:`bench.execute`,
numbers from :mod:`bench.report`.
"""
