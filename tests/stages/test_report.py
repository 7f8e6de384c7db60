import re
from html.parser import HTMLParser

from segshift.stages import report

TABLE = """# Shift & more (partial)

| Rank | Backbone |   OV |
| ---: | -------- | ---: |
|    1 | a\\|b <x>¹ | 0.67 |

¹ Missing: <two>.
"""


class Cells(HTMLParser):
    """Text by tag, and tags that stay open."""

    def __init__(self):
        super().__init__()
        self.texts, self.open = [], []

    def handle_starttag(self, tag, attributes):
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))


def test_the_page_shows_tables_footnotes_and_links(project):
    project.results.tables.mkdir()
    (project.results.tables / "shift.md").write_text(TABLE)
    page = report.run(project.config, project.results).read_text()
    cells = Cells()
    cells.feed(page)
    assert not cells.open
    assert [text for tag, text in cells.texts if tag == "td"] == ["1", "a|b <x>¹", "0.67"]
    assert ("p", "¹ Missing: <two>.") in cells.texts
    assert ("h2", "Shift & more") in cells.texts
    assert 'href="tables/shift.csv"' in page
    assert not re.search(r"https?://", page)
    assert report.run(project.config, project.results).read_text() == page


def test_a_partial_table_stands_in_for_a_complete_one(project):
    partial = project.results.tables / "partial"
    partial.mkdir(parents=True)
    (partial / "shift.md").write_text(TABLE)
    assert 'href="tables/partial/shift.md"' in report.run(project.config, project.results).read_text()
    (project.results.tables / "shift.md").write_text(TABLE)
    assert 'href="tables/shift.md"' in report.run(project.config, project.results).read_text()


def test_what_was_left_out_is_listed(project):
    (project.config / "weights.yaml").write_text(
        "w: {file: w.pth, licence: MIT, pretrained_on: {two: same_dataset}}\n"
    )
    (project.config / "backbones.yaml").write_text("unet: {module: unet, image_size: 32, weights: w}\n")
    experiments = project.config / "experiments.yaml"
    experiments.write_text(
        experiments.read_text().replace("title: Shift", "title: Shift\n  contaminated: drop_target")
    )
    project.results.tables.mkdir()
    (project.results.tables / "shift.md").write_text(TABLE)
    page = report.run(project.config, project.results).read_text()
    assert "1 score was left out on purpose" in page
    assert "<li>one/unet/full/own/0 on two: w was pretrained on two</li>" in page


def test_a_page_without_tables(project):
    assert "No table was built yet." in report.run(project.config, project.results).read_text()
