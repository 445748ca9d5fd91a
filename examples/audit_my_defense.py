"""An audit of your own defense in Python: the contract, the whole attack suite, and the numbers as frames."""

# %% [markdown]
# # Audit of your own defense, in Python
#
# Opens as a notebook in any editor that knows `# %%`, and runs as a script:
#
#     python examples/audit_my_defense.py            # the matrix `demo`: shows how it works
#     python examples/audit_my_defense.py full       # the published protocol
#
# `bench audit examples/my_defense` does the same from the command line and writes a page.

# %%
from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from bench import Leaderboard, run_matrix
from bench.audit.suite import selection, strengths, undefended
from bench.audit.verdict import audited, headline
from bench.check.place import at
from bench.check.run import check
from bench.matrix import load_matrix

HERE = Path(__file__).parent
COLUMNS = ["model", "checkpoint", "batch_size", "defense", "strength", "utility", "lpips", "strongest_attack"]


# %% [markdown]
# ## 1. Does it keep its contract?
#
# A defense that mixes clients, hides from the adaptive attacker or draws from global random state is caught
# before anything is attacked.


# %%
def contract(folder: Path) -> bool:
    """Prints the checklist of a plug-in's folder."""
    with at(folder) as subject:
        found = check(subject)
    print(found.to_text())
    return found.sound


# %% [markdown]
# ## 2. Every attack of the matrix, at every strength
#
# The undefended victim comes along: on the same images, so that all differences are paired. Whatever is in
# the results folder already is not run again.


# %%
def attack(folder: Path, matrix: str, out: Path) -> pd.DataFrame:
    """Runs the attack suite and returns one row per cell."""
    with at(folder) as subject:
        defenses = selection(subject.name, strengths(subject.name), undefended(load_matrix(matrix)))
        records = run_matrix(matrix, out=out, defenses=defenses, display="plain")
    failed = records[records["status"].isin(["failed", "timeout", "oom"])]
    print(f"{len(records)} cells, {len(failed)} of them failed")
    return records


# %% [markdown]
# ## 3. What leaks at worst, and what it cost


# %%
def main(matrix: str = "demo", out: Path = Path("runs/my_defense")) -> None:
    """The whole audit."""
    folder = HERE / "my_defense"
    if not contract(folder):
        sys.exit("the contract is broken: its numbers would mean nothing")
    attack(folder, matrix, out)
    board = Leaderboard(out)
    print(board.worst[COLUMNS].round(3).to_string(index=False))
    print(headline(audited(board.groups, folder.name), folder.name))


if __name__ == "__main__":  # what starts processes needs this guard
    main(*sys.argv[1:2])
