import re
from html.parser import HTMLParser

import pytest

from segshift.stages import report, tabulate, track
from segshift.tables import files
from segshift.tables.table import Column, Number, Row, Table

COLUMNS = (Column("rank", "Rank", "whole"), Column("backbone", "Backbone", "text"), Column("ov", "OV"))
TABLE = Table(
    "shift",
    "Shift & more",
    COLUMNS,
    (Row((1, "a|b <x>", Number(2 / 3, bold=True)), {"backbone": ("Missing: <two>.",)}),),
)


def put(folder, table, *endings):
    for ending, text in files.texts(table, None, {}).items():
        if not endings or ending in endings:
            files.write(folder / f"{table.name}.{ending}", text)


class Cells(HTMLParser):
    """Text by tag, and tags that stay open."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.open = [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))


def test_the_page_shows_tables_footnotes_and_links(project):
    put(project.results.tables, TABLE)
    page = report.run(project.config, project.results).read_text()
    texts = Cells(page).texts
    for shown in (("td", "a|b <x>"), ("b", "0.67"), ("p", "Missing: <two>."), ("h2", "Shift & more")):
        assert shown in texts
    for ending in ("csv", "md", "tex", "html"):
        assert f'<a href="tables/shift.{ending}">shift.{ending}</a>' in page
    assert '<a href="#shift">Shift &amp; more</a>' in page
    assert not re.search(r"https?://", page)
    assert report.run(project.config, project.results).read_text() == page


def test_the_table_is_the_same_as_on_its_own_page(project):
    project.complete()
    track.run(project.config, project.results)
    tabulate.run(project.config, project.results, "shift")
    own = (project.results.tables / "shift.html").read_text()
    table = re.search(r"<table.*?</table>", own, re.S).group()
    assert 'title="2 scores, seed 0, 3 volumes&#10;' in table.replace("\n", "&#10;")
    page = report.run(project.config, project.results).read_text()
    assert table in page
    assert page.count("addEventListener") == 1


def test_a_partial_table_stands_in_for_a_complete_one(project):
    put(project.results.tables / "partial", TABLE, "html", "md")
    page = report.run(project.config, project.results).read_text()
    assert 'href="tables/partial/shift.md"' in page
    assert "shift.csv" not in page  # it is not there
    put(project.results.tables, TABLE)
    assert 'href="tables/shift.md"' in report.run(project.config, project.results).read_text()


@pytest.mark.parametrize(("number", "link"), [("4.5", "Table 4.5"), ("", "Shift &amp; more")])
def test_a_numbered_table_is_linked_by_its_number(project, number, link):
    table = Table("table_4.5", TABLE.title, COLUMNS, TABLE.rows, number=number)
    (project.config / "tables.yaml").write_text(
        "'4.5': {title: Shift, experiment: shift, columns: [backbone, ov]}\n"
    )
    put(project.results.tables, table)
    page = report.run(project.config, project.results).read_text()
    assert f'<nav><a href="#table_4.5">{link}</a></nav>' in page
    assert ("h2", table.heading) in Cells(page).texts


def test_what_was_left_out_is_listed(project):
    (project.config / "weights.yaml").write_text(
        "w: {file: w.pth, licence: MIT, pretrained_on: {two: same_dataset}}\n"
    )
    (project.config / "backbones.yaml").write_text("unet: {module: unet, image_size: 32, weights: w}\n")
    experiments = project.config / "experiments.yaml"
    experiments.write_text(
        experiments.read_text().replace("title: Shift", "title: Shift\n  contaminated: drop_target")
    )
    put(project.results.tables, TABLE)
    page = report.run(project.config, project.results).read_text()
    assert "shift: 1 score was left out on purpose" in page
    assert "<li>one/unet/full/own/0 on two: w was pretrained on two</li>" in page


def test_a_page_without_tables(project):
    assert "No table was built yet." in report.run(project.config, project.results).read_text()
