import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from segshift.tables.html import LISTED, Pages, fragment, hover, to_html
from segshift.tables.table import LEGEND, SPREAD, Column, Evidence, Number, Row, Table, Volume

COLUMNS = (
    Column("rank", "Rank", "whole"),
    Column("backbone", "Backbone", "text"),
    Column("hidden", "Hidden", shown=False),
    Column("ds", "DS", group="Brain <b>"),
    Column("ov", "OV", group="Brain <b>"),
)
ONE = Evidence(
    "one/unet/full/own/42", "one", 66.665, (Volume("v1", "p", 60.0), Volume("v2", "q", 73.33)), "aa"
)
TWO = Evidence("one/unet/full/own/43/finetune/two", "two", 50.0, (Volume("v1", "p", 50.0),), "bb")
TABLE = Table(
    "table_1",
    "A & B",
    COLUMNS,
    (
        Row(
            (1, "unet", Number(7.0), Number(66.665, (ONE,), bold=True), Number(2 / 3, (ONE, TWO), 0.125)),
            {"backbone": ("<Unknown>.",)},
            "x",
        ),
        Row((None, 'a"<b>', Number(7.0), Number(None), Number(-1.0)), {"ds": ("Missing: y.",)}, "y"),
    ),
    ("A remark.",),
    partial=True,
    number="4.5",
)
LABELS = {"backbone": {"unet": "U-Net"}}
LINK = Pages("http://localhost:5000/", "7")


class Page(HTMLParser):
    """Tags with attributes and text, in order; what stays open."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes), []))
        if tag != "meta":
            self.open.append((tag, self.found[-1][2]))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for tag, texts in self.open:
            texts.append(data) if tag != "html" else None

    def all(self, tag):
        return [(attributes, "".join(texts)) for name, attributes, texts in self.found if name == tag]


def test_cells_hold_what_is_shown_and_what_is_sorted_by():
    cells = Page(to_html(TABLE, LABELS)).all("td")
    assert [text for _, text in cells] == ["1", "U-Net1", "66.67", "0.67 ± 0.13", "–", 'a"<b>', "–2", "-1.00"]
    assert [attributes.get("data-value") for attributes, _ in cells] == (
        ["1", "U-Net", "66.665", str(2 / 3), None, 'a"<b>', None, "-1.0"]
    )


def test_the_header_has_two_levels_and_a_button_a_column():
    page = Page(to_html(TABLE, LABELS))
    heads = page.all("th")
    assert [text for _, text in heads] == ["Rank", "Backbone", "Brain <b>", "DS", "OV"]
    assert [head.get("data-column") for head, _ in heads] == ["0", "1", None, "2", "3"]
    assert [head.get("rowspan") for head, _ in heads] == ["2", "2", None, None, None]
    assert heads[2][0]["colspan"] == "2"
    assert heads[0][0]["data-first"] == "lowest"
    assert len(page.all("button")) == 4
    lines = page.all("tr")
    assert [line.get("class") for line, _ in lines] == [None, None, None, "section"]


def test_a_header_without_groups_has_one_line():
    columns = tuple(replace(column, group="") for column in COLUMNS)
    page = Page(fragment(replace(TABLE, columns=columns), {}))
    assert len(page.all("tr")) == 3
    assert not any("rowspan" in head for head, _ in page.all("th"))


def test_a_number_says_on_hover_what_it_is_made_of():
    titles = [cell.get("title") for cell, _ in Page(to_html(TABLE, LABELS)).all("td")]
    assert titles[2] == "1 score, seed 42, 2 volumes\none/unet/full/own/42 on one: 66.67 (2 volumes)"
    assert titles[3].splitlines() == [
        "2 scores, seeds 42, 43, 3 volumes",
        "one/unet/full/own/42 on one: 66.67 (2 volumes)",
        "one/unet/full/own/43/finetune/two on two: 50.00 (1 volume)",
    ]
    assert titles[0] is titles[6] is None


def test_a_long_hover_ends_and_a_score_of_a_file_has_no_volumes():
    scores = [Evidence("a/b/c/d/1", f"t{i}", 1.0) for i in range(LISTED + 3)]
    lines = hover(scores).splitlines()
    assert lines[0] == f"{LISTED + 3} scores, seed 1"
    assert lines[1] == "a/b/c/d/1 on t0: 1.00"
    assert lines[-1] == "and 3 more"
    assert len(lines) == LISTED + 2


def test_a_number_links_to_its_run_or_to_the_list_of_its_runs():
    links = [link["href"] for link, _ in Page(to_html(TABLE, LABELS, LINK)).all("a")]
    assert links == [
        "http://localhost:5000/#/experiments/7/runs/aa",
        "http://localhost:5000/#/experiments/7/runs?searchFilter=attributes.run_id%20IN%20%28%27aa%27%2C%20"
        "%27bb%27%29&workflowType=machine_learning",
    ]
    assert not Page(to_html(TABLE, LABELS)).all("a")
    without = replace(TABLE, rows=(Row((1, "unet", Number(1.0), Number(2.0), Number(3.0)), {}),))
    assert not Page(to_html(without, LABELS, LINK)).all("a")


def test_notes_stand_below_and_nothing_comes_from_the_network():
    text = to_html(TABLE, LABELS)
    page = Page(text)
    assert [note for _, note in page.all("p")] == [
        "1 <Unknown>.",
        "2 Missing: y.",
        "A remark.",
        f"{LEGEND} {SPREAD}",
    ]
    assert page.all("h1") == [({}, "Table 4.5: A & B (partial)")]
    assert page.all("title")[0][1] == "Table 4.5: A & B"
    assert not re.search(r"https?://|src=|@import|url\(", text)
    assert page.all("b") == [({}, "66.67")]


@pytest.mark.parametrize("rows", [(), TABLE.rows])
def test_a_table_may_be_empty(rows):
    page = Page(fragment(replace(TABLE, rows=rows), {}))
    assert len(page.all("td")) == 4 * len(rows)
