"""The report of a small grid whose scores were drawn at random, and of grids that lack something."""

import csv
import json
import random
import re
import shutil
from html.parser import HTMLParser
from statistics import fmean, stdev

import plotly.graph_objects as plotly
import pytest
import yaml

from segshift.report.page import NAV
from segshift.stages import report, tabulate, track
from segshift.tracking import Journal

ONE, TWO, ADAPTED = "one/unet/full/own/{}", "two/unet/full/own/{}", "one/unet/full/own/{}/finetune/two"
SEEDS = (0, 1)
DICE = re.compile(
    r'<a href="#(cell-[^"]+)" title="(\S+) on (\w+)(?:, volume (\w+))?">([\d.]+)</a>'
    r'<a class="run" href="([^"]+)"'
)


class Page(HTMLParser):
    """Ids, links and texts by tag; tags that stay open are an error."""

    def __init__(self, page):
        super().__init__()
        self.ids, self.links, self.texts, self.open = [], [], [], []
        start, _, rest = page.partition('<script type="application/json" id="plots">')
        plots, _, scripts = rest.partition("</script>")
        self.plots, self.scripts = json.loads(plots), scripts
        self.html = start
        self.feed(start)
        assert self.open == ["html", "body"]

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def section(self, name):
        return re.search(rf'<section id="{name}">.*?</section>', self.html, re.S)[0]


def filled(made, seeds=SEEDS, adapted=True):
    """Models of both sources with random scores on six volumes, tracked."""
    draw = random.Random(5)

    def volumes():
        return [(draw.uniform(5, 95), draw.choice([None, draw.uniform(5, 95)])) for _ in range(6)]

    (made.config / "project.yaml").write_text(yaml.safe_dump({"seeds": list(seeds)}))
    for seed in seeds:
        made.model(ONE.format(seed), one=volumes(), two=volumes())
        made.model(TWO.format(seed), two=volumes(), one=volumes())
        if adapted:
            made.model(ADAPTED.format(seed), two=volumes())
    for model in (ONE, TWO, ADAPTED) if adapted else (ONE, TWO):
        for seed in seeds:
            journal = Journal(made.folder(model.format(seed)))
            journal.start("first", {}, {})
            for step in range(100):
                journal.log(step, {"validation/dice": step / 2, "epoch/loss": 1.0})
            journal.end("FINISHED")
            training = {"training": {"learning_rate": 0.25}}
            more = {"data": {"one": "ab" * 32}, "versions": {"torch": "2.6"}, "hardware": "an abacus"}
            made.record(model.format(seed), **more, configuration=training)
    track.run(made.config, made.results)
    return made


@pytest.fixture(scope="module")
def whole(project_class, database, tmp_path_factory):
    """A project of which everything is there, and its report."""
    made = project_class(tmp_path_factory.mktemp("whole"))
    made.results.tracking.mkdir(parents=True)
    shutil.copyfile(database, made.results.tracking / "mlflow.db")
    filled(made)
    tabulate.run_all(made.config, made.results)
    made.page = Page(report.run(made.config, made.results).read_text())
    return made


def dice(made, cell, target, name=None, volume=None):
    """Recomputed from the score file's text: the mean over a volume's classes, then over volumes."""
    volumes = {}
    with (made.folder(cell) / "scores.csv").open() as stream:
        for row in csv.DictReader(stream):
            wanted = (row["target"], row["split"], row["checkpoint"]) == (target, "test", "model")
            wanted = wanted and name in (None, row["class"]) and volume in (None, row["volume"])
            if wanted and row["dice"]:
                volumes.setdefault(row["volume"], []).append(float(row["dice"]))
    return fmean(fmean(values) for values in volumes.values())


def test_sections_stand_in_their_order_in_one_file_without_a_network(whole):
    assert [one for one in whole.page.ids if one in NAV] == list(NAV)
    outside = {link for link in whole.page.links if "://" in link}
    assert outside and all(link.startswith("http://127.0.0.1:5000/#/experiments/") for link in outside)
    assert not re.search(r"<(script|img)[^>]* src=\"(?!data:)|<link", whole.page.html)
    assert not re.search(r"<script[^>]* src=", whole.page.scripts)
    before = whole.results.report.read_bytes()
    assert report.run(whole.config, whole.results).read_bytes() == before


def test_ten_numbers_picked_at_random_come_from_score_rows(whole):
    found = DICE.findall(whole.page.html)
    assert len(found) > 20
    runs = json.loads((whole.results.tracking / "runs.json").read_text())["mlflow.db"]
    for anchor, cell, target, volume, shown, link in random.Random(13).sample(found, 10):
        assert float(shown) == pytest.approx(dice(whole, cell, target, volume=volume or None), abs=0.0051)
        assert anchor == f"cell-{cell.replace('/', '.')}" and anchor in whole.page.ids
        assert link.endswith(f"/runs/{runs[cell]}")


def test_heat_maps_hold_means_over_seeds_of_score_rows(whole):
    plot = whole.page.plots["map-unet.full.own.none-brain"]["data"][0]
    assert plot["x"] == plot["y"] == ["Site one", "two"]
    for y, source in enumerate(("one", "two")):
        for x, target in enumerate(("one", "two")):
            seeds = [dice(whole, f"{source}/unet/full/own/{seed}", target) for seed in SEEDS]
            assert plot["z"][y][x] == pytest.approx(fmean(seeds))
    classes = whole.page.plots["classes-unet.full.own.none-brain"]["data"][0]
    expected = fmean(dice(whole, TWO.format(seed), "one", "white") for seed in SEEDS)
    assert classes["z"][classes["y"].index("white")][classes["x"].index("Site one DG")] == pytest.approx(
        expected
    )


def test_points_of_ds_dg_slopes_and_cost(whole):
    ds = [[dice(whole, model.format(s), t) for model, t in ((ONE, "one"), (TWO, "two"))] for s in SEEDS]
    dg = [[dice(whole, model.format(s), t) for model, t in ((ONE, "two"), (TWO, "one"))] for s in SEEDS]
    (point,) = whole.page.plots["shift-shift"]["data"]
    assert point["x"] == pytest.approx([fmean(map(fmean, ds))])
    assert point["y"] == pytest.approx([fmean(map(fmean, dg))])
    assert point["error_y"]["array"] == pytest.approx([stdev(map(fmean, dg))])
    (slope,) = whole.page.plots["slopes-unet.full.own"]["data"]
    assert slope["x"] == ["before", "finetune", "in-domain"]
    models = (ONE, ADAPTED, TWO)
    assert slope["y"] == pytest.approx(
        [fmean(dice(whole, m.format(s), "two") for s in SEEDS) for m in models]
    )
    (cost,) = whole.page.plots["cost-parameters-shift"]["data"]
    assert cost["x"] == [1234]
    assert cost["y"] == pytest.approx([fmean(map(fmean, (*ds, *dg)))])
    (seconds,) = whole.page.plots["cost-seconds-shift"]["data"]
    assert seconds["x"] == pytest.approx([7.5])


def test_every_link_and_every_click_leads_somewhere(whole):
    ids = whole.page.ids
    assert len(set(ids)) == len(ids)
    assert {link[1:] for link in whole.page.links if link.startswith("#")} <= set(ids)
    clicks = [one for plot in whole.page.plots.values() for data in plot["data"] for one in _flat(data)]
    assert clicks and set(clicks) - {""} <= set(ids)
    files = [link for link in whole.page.links if not link.startswith(("#", "http"))]
    assert files and all((whole.results.root / link).exists() for link in files)


def _flat(data):
    for one in data.get("customdata", ()):
        yield from one if isinstance(one, list) else [one]


def test_plotly_knows_every_attribute_of_every_plot(whole):
    kinds = {name.partition("-")[0] for name in whole.page.plots}
    assert kinds == {"map", "shift", "slopes", "classes", "curves", "curve", "cost", "seeds"}
    for name, plot in whole.page.plots.items():
        plotly.Figure(plot["data"], plot["layout"])
        assert name in whole.page.ids


def test_long_curves_are_thinned_and_keep_their_ends(whole):
    lines = whole.page.plots["curves-unet.full.own.finetune"]["data"]
    assert [line["name"] for line in lines] == [f"Site one → two, seed {seed}" for seed in SEEDS]
    for line in lines:
        assert len(line["x"]) == 60 and (line["x"][0], line["x"][-1]) == (0, 99)
        assert line["y"] == [step / 2 for step in line["x"]]


def test_versions_machines_settings_and_data(whole):
    making = [text for tag, text in whole.page.texts if tag == "td"]
    for words in (
        ("torch", "2.6", "6"),
        ("an abacus", "6"),
        ("learning_rate", "0.25"),
        ("abababababababab", "6"),
    ):
        at = making.index(words[0])
        assert tuple(making[at : at + len(words)]) == words


def test_worst_volumes(whole):
    cell = ONE.format(1)
    own = {}
    with (whole.folder(cell) / "scores.csv").open() as stream:
        for row in csv.DictReader(stream):
            if (row["split"], row["checkpoint"]) == ("test", "model") and row["dice"]:
                own.setdefault((row["target"], row["volume"]), []).append(float(row["dice"]))
    ten = sorted(fmean(values) for values in own.values())[:10]
    line = re.search(rf'<p class="cell"><a href="#cell-{cell.replace("/", ".")}">.*?</p>', whole.page.html)[0]
    assert [float(one) for one in re.findall(r"<b>([\d.]+)</b>", line)] == pytest.approx(ten, abs=0.051)


def test_without_adaptation_and_with_one_seed(project):
    page = Page(report.run(filled(project, (0,), adapted=False).config, project.results).read_text())
    assert "No adapted model has a score." in page.section("adaptation")
    assert "1 row, 2 sources, seed 0." in page.section("sentences")
    assert f"{ADAPTED.format(0)} on two" in page.section("missing")
    assert [one for one in page.ids if one in NAV] == list(NAV)


def test_one_dataset(project):
    experiment = {
        "title": "Alone",
        "grid": {"source": ["one"], "backbone": ["unet"], "tuning": ["full"], "head": ["own"]},
        "targets": {"brain": ["one"]},
    }
    (project.config / "experiments.yaml").write_text(yaml.safe_dump({"alone": experiment}))
    project.model(ONE.format(0), one=[(40.0, 60.0)])
    track.run(project.config, project.results)
    page = Page(report.run(project.config, project.results).read_text())
    assert page.plots["map-unet.full.own.none-brain"]["data"][0]["z"] == [[50]]
    assert "There is no choice among rows." in page.section("selection")


def test_nothing_scored(project):
    page = Page(report.run(project.config, project.results).read_text())
    assert "nothing was scored yet" in page.section("sentences")
    assert "No score yet: Adapted; Shift." in page.section("ranking")
    assert [one for one in page.ids if one in NAV] == list(NAV)


def test_left_out_failed_and_missing_with_reasons(project):
    (project.config / "weights.yaml").write_text(
        "w: {file: w.pth, licence: MIT, pretrained_on: {two: same_dataset}}\n"
    )
    (project.config / "backbones.yaml").write_text("unet: {module: unet, image_size: 32, weights: w}\n")
    experiments = project.config / "experiments.yaml"
    text = experiments.read_text().replace("title: Shift", "title: Shift\n  contaminated: drop_target")
    experiments.write_text(text.replace("title: Adapted", "title: Adapted\n  contaminated: drop_target"))
    project.model(ONE.format(0), one=[(40.0, 60.0)])
    project.journal(TWO.format(0), status="FAILED", error="out of memory <1 GB>")
    track.run(project.config, project.results)
    page = Page(report.run(project.config, project.results).read_text())
    missing = page.section("missing")
    assert "w was pretrained on two: 2" in missing and f"{ONE.format(0)} on two" in missing
    assert "out of memory &lt;1 GB&gt;: 2" in missing and f"{TWO.format(0)} on two, one" in missing
    (heat,) = page.plots["map-unet.full.own.none-brain"]["data"]
    assert heat["z"] == [[50, None], [None, None]]
    assert "left out: w was pretrained on two" in heat["hovertext"][0][1]
    assert "missing" in heat["hovertext"][1][0]
    hatched = [
        one for one in page.plots["map-unet.full.own.none-brain"]["layout"]["shapes"] if one["type"] == "path"
    ]
    assert len(hatched) == 1
    assert ("td", "MIT") in page.texts


def test_a_model_that_was_scored_again_and_not_tracked_takes_no_other_with_it(project):
    filled(project)
    project.scores(ONE.format(0), one=[(1.0, 2.0)], two=[(3.0, 4.0)])
    page = Page(report.run(project.config, project.results).read_text())
    assert f"cell-{TWO.format(0).replace('/', '.')}" in page.ids
    assert f"cell-{ONE.format(0).replace('/', '.')}" not in page.ids
    assert "run segshift track" in page.section("missing")


def test_noise_over_seeds_and_patients_by_dataset_and_backbone(whole):
    """Against variances by hand: each configuration's, weighted by its degrees of freedom."""
    section = whole.page.html.partition('<section id="noise">')[2].partition("</section>")[0]
    lines = section.splitlines()
    for target, shown, cells in (("one", "Site one", (ONE, TWO)), ("two", "two", (ONE, TWO, ADAPTED))):
        squares = dfs = 0.0
        for cell in cells:
            values = [dice(whole, cell.format(seed), target) for seed in SEEDS]
            squares, dfs = squares + sum((v - fmean(values)) ** 2 for v in values), dfs + 1
        line = next(line for line in lines if f'<td class="text">{shown}</td>' in line)
        assert f"<td>{len(cells)}</td><td>{(squares / dfs) ** 0.5:.2f}</td>" in line
    assert "more than three robust standard deviations" in section
