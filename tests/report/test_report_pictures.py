"""Figures: the same bytes each time, and stitched sheets in the order of the tables."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.report.analysis.leaderboard import build
from bench.report.cards import Cards
from bench.report.figures.federation import curves as axis_curves
from bench.report.figures.figures import _heat
from bench.report.figures.signal import clouds
from bench.report.findings.effort import curves
from bench.report.frames import read_results
from bench.report.write import write_report

Folder = Any  # the class in conftest.py


def test_figures_are_stable_and_follow_the_records(
    matrix: Callable[..., Folder], cards: Cards, tmp_path: Path
) -> None:
    folder = matrix(releases=2, seeds=1, checkpoints=("trained",))
    contents = []
    for name, shuffle in (("a", None), ("b", 5)):
        write_report(folder.write(tmp_path / name, shuffle=shuffle), cards=cards)
        figures = sorted((tmp_path / name / "figures").glob("*.svg"))
        kinds = [
            f"{kind}-gradients-digits-lenet-trained-1" for kind in ("adaptive", "heat", "images", "tradeoff")
        ]
        assert [f.stem for f in figures] == kinds
        contents.append([f.read_bytes() for f in figures])
    assert contents[0] == contents[1]
    assert not any(b"<dc:date>" in content for content in contents[0])
    for path in (tmp_path / "a" / "records").glob("*.json"):
        path.unlink()
    small = type(folder)()
    small.add("strong", lpips=[0.1, 0.2])
    write_report(small.write(tmp_path / "a"), cards=cards)
    left = sorted(figure.stem for figure in (tmp_path / "a" / "figures").glob("*.svg"))
    kinds = [f"{kind}-gradients-digits-lenet-initial-1" for kind in ("heat", "images")]
    assert left == kinds, "an undefended victim has no trade-off"


def test_smaller_budgets_of_a_question_become_a_curve(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    for budget in (10, 100, 1000):
        spent = {"evaluations_mean": float(budget), "evaluations_max": budget, "cost_mean": 0.1}
        folder.add("strong", lpips=[0.1, 0.2], budget=budget, attack=spent)
    results = read_results(folder.write(tmp_path))
    assert (len(results.cells), sorted(results.repeats["budget"])) == (1, [10, 100])
    write_report(tmp_path, cards=cards)
    name = "budget-gradients-digits-lenet-initial-1.svg"
    assert (tmp_path / "figures" / name).is_file()
    (curve,) = curves(results, build(results, cards)[0])
    assert {"strong/naive", "none"} <= {*curve.name.split()}
    assert [(point.budget, point.evaluations) for point in curve.points] == [
        (10, 10),
        (100, 100),
        (1000, 1000),
    ]
    assert {point.leak for point in curve.points} == {0.0}  # the records' own mean LPIPS is 1
    for path in (tmp_path / "records").glob("*.json"):
        path.unlink()
    folder.records = folder.records[2:]
    write_report(folder.write(tmp_path), cards=cards)
    assert not (tmp_path / "figures" / name).exists(), "one budget alone is no curve"


def test_partial_reports_draw_nothing(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    folder.add("strong", lpips=[0.1, 0.2])
    write_report(folder.write(tmp_path), final=False, cards=cards)
    assert not (tmp_path / "figures").exists()


def test_gallery_stitches_the_first_seed(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    for seed in (0, 1):
        folder.add("strong", "noise", 1.0, lpips=[0.3, 0.3], seed=seed)
        folder.add("strong", lpips=[0.1, 0.2], seed=seed)
    folder.add("weak", lpips=[0.1, 0.2])
    folder.write(tmp_path)
    (tmp_path / "sheets").mkdir()
    for number, item in enumerate(folder.records):
        pixels = np.zeros((64, 64), dtype=np.uint8)
        pixels[32:] = 10 * (number + 1)
        pixels[:32] = 200
        Image.fromarray(pixels).save(tmp_path / "sheets" / f"{item['id']}.png")
    (tmp_path / "sheets" / f"{folder.records[4]['id']}.png").write_bytes(b"not a picture")
    write_report(tmp_path, cards=cards)
    with Image.open(tmp_path / "figures" / "gallery-gradients-digits-lenet-initial-1.png") as stored:
        picture = stored.convert("L")
        strips = [picture.getpixel((picture.width - 4, 70 * i + 30)) for i in range(picture.height // 70)]
    # The originals, none (added second), noise (added first); no second seed and no broken sheet.
    assert (tmp_path / "figures" / "worst-gradients-digits-lenet-initial-1.png").is_file()
    assert strips == [200, 20, 10]  # grey stays grey


def test_long_names_of_attacks_stay_inside_the_heat_map(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    for attack in ("strong", "strong[generator=vae,evaluations=1000]"):
        folder.add(attack, lpips=[0.1, 0.2])
    (group,) = build(read_results(folder.write(tmp_path)), cards)
    figure = _heat(group)
    (axes,) = figure.axes
    right = max(label.get_window_extent().x1 for label in axes.get_xticklabels())
    assert right <= figure.bbox.x1


def test_every_image_is_set_against_what_its_defense_left(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    """Images with much signal are recovered, others are not; rows without such a hook have no cloud."""
    for seed in range(2):
        folder.add("strong", lpips=[0.1] * 3, seed=seed)
        release = {"zero": 0, "nonfinite": 0, "norm_mean": 1.0, "signal": [9.0, 0.5 + seed, None]}
        folder.add("strong", "noise", 0.1, lpips=[0.1, 0.8, 0.9], seed=seed, release=release)
    results = read_results(folder.write(tmp_path))
    (group,) = build(results, cards)
    (cloud,) = clouds(results, group)
    assert cloud.name == "noise = 0.1"
    found = sorted(zip(cloud.signal, cloud.leak.round(6), cloud.recovered, strict=True))
    assert found == [(0.5, 0.2, False), (1.5, 0.2, False), (9.0, 0.9, True), (9.0, 0.9, True)]
    write_report(tmp_path, cards=cards)
    assert (tmp_path / "figures" / "signal-gradients-digits-lenet-initial-1.svg").is_file()
    assert "signal" in (tmp_path / "cells.csv").read_text().splitlines()[0].split(",")


def test_settings_that_differ_in_one_axis_of_their_federation_become_a_curve(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    settings = [("convnet", 4), ("convnet", 1), ("convnet", 16), ("convnet[clients=2]", 4)]
    settings += [("convnet[local_epochs=5]", 4), ("convnet[local_batch=1,local_epochs=5]", 4), ("lenet", 4)]
    for model, size in settings:
        for seed in (0, 1):
            found = {"lpips": [0.1] * size, "batch_size": size, "seed": seed, "model": model}
            folder.add("strong", **found)
            if model == "convnet":
                folder.add("strong", "noise", 0.1, **found)
    drawn = axis_curves(build(read_results(folder.write(tmp_path)), cards))
    assert [(curve.axis, curve.place) for curve in drawn] == [
        ("batch_size", "gradients · digits · convnet · initial"),
        ("local_epochs", "gradients · digits · convnet · initial · B = 4"),
        ("local_batch", "gradients · digits · convnet[local_epochs=5] · initial · B = 4"),
        ("clients", "gradients · digits · convnet · initial · B = 4"),
    ]
    points = [[(line.name, [value for value, _ in line.points]) for line in curve.lines] for curve in drawn]
    assert points == [
        [("none", [1, 4, 16]), ("noise = 0.1", [1, 4, 16])],
        [("none", [1, 5])],
        [("none", [1, 4])],
        [("none", [2, 8])],
    ]
    write_report(tmp_path, cards=cards)
    figures = list((tmp_path / "figures").glob("axis-*.svg"))
    page = (tmp_path / "index.html").read_text()
    assert len(figures) == 4
    assert all(base64.b64encode(figure.read_bytes()).decode() in page for figure in figures)


def test_a_curve_along_b_keeps_what_was_chosen(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    """Choices of one setting alone neither replace the points of another nor stand in its title."""
    settings = [("convnet[clients=2]", 4), ("convnet[local_batch=1]", 8), ("convnet", 1), ("convnet", 8)]
    for model, size in [*settings, ("lenet[clients=2]", 4), ("lenet", 1)]:
        for seed in (0, 1):
            far = [0.9 if model == "convnet" else 0.1] * size
            folder.add("strong", lpips=far, batch_size=size, seed=seed, model=model)
    drawn = axis_curves(build(read_results(folder.write(tmp_path)), cards))
    (along,) = (curve for curve in drawn if curve.axis == "batch_size")
    assert along.place == "gradients · digits · convnet · initial"
    (line,) = along.lines
    assert [(value, share.mean) for value, share in line.points] == [(1, 0), (8, 0)]


def test_networks_with_a_schedule_of_the_user_have_curves(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    settings = [("convnet[epochs=3]", 2), ("convnet[epochs=3,local_epochs=5]", 2)]
    settings += [
        ("convnet[epochs=3,images_per_round=8]", 2),
        ("convnet[epochs=3,images_per_round=8,clients=2]", 2),
    ]
    for model, size in settings:
        for seed in (0, 1):
            folder.add("strong", lpips=[0.1] * size, batch_size=size, seed=seed, model=model)
    drawn = axis_curves(build(read_results(folder.write(tmp_path)), cards))
    found = [(curve.axis, curve.place, [value for value, _ in curve.lines[0].points]) for curve in drawn]
    assert found == [
        ("local_epochs", "gradients · digits · convnet[epochs=3] · initial · B = 2", [1, 5]),
        ("clients", "gradients · digits · convnet[epochs=3,images_per_round=8] · initial · B = 2", [2, 4]),
    ]


def test_one_step_is_one_point_whatever_its_options(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    single = [
        "local_batch=8",
        "local_batch=4,local_rate=0.1",
        "local_rate=0.2",
        "local_batch=16,local_rate=0.5",
    ]
    several = ["local_epochs=5", "local_epochs=5,local_batch=8", "local_epochs=5,local_rate=0.1"]
    more = ["local_batch=2", "local_epochs=5,local_batch=2"]
    for options in (*single, *several, *more):
        for seed in (0, 1):
            found = {"lpips": [0.1] * 4, "batch_size": 4, "seed": seed, "model": f"convnet[{options}]"}
            folder.add("strong", **found)
    drawn = axis_curves(build(read_results(folder.write(tmp_path)), cards))
    found = {(c.axis, c.place.split(" · ")[2]): [value for value, _ in c.lines[0].points] for c in drawn}
    assert found == {
        ("local_epochs", "convnet"): [1, 5],
        ("local_epochs", "convnet[local_rate=0.1]"): [1, 5],
        ("local_epochs", "convnet[local_batch=2]"): [1, 5],
        ("local_batch", "convnet[local_epochs=5]"): [2, 4],
        ("local_rate", "convnet[local_epochs=5]"): [0.05, 0.1],
    }


def test_rows_that_met_other_attacks_are_no_points_of_one_curve(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    for size, attack in ((1, "strong"), (4, "weak")):
        folder.add(attack, lpips=[0.1] * size, batch_size=size, model="convnet")
    assert axis_curves(build(read_results(folder.write(tmp_path / "a")), cards)) == ()
    folder.add("strong", lpips=[0.1] * 8, batch_size=8, model="convnet")
    (curve,) = axis_curves(build(read_results(folder.write(tmp_path / "b")), cards))
    assert [[value for value, _ in line.points] for line in curve.lines] == [[1, 8]]
