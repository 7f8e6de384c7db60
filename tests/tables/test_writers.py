import pytest

from segshift.tables.table import Column, Number, Row, Table, counted, rounded
from segshift.tables.writers import to_csv, to_markdown

COLUMNS = (
    Column("rank", "Rank", "whole"),
    Column("backbone", "Backbone", "text"),
    Column("trainable", "Trainable", "count"),
    Column("ds", "DS"),
    Column("ov", "OV"),
)
TABLE = Table(
    "x",
    "A title",
    COLUMNS,
    (
        Row((1, "unet", 52239, Number(100 / 3, spread=0.125), Number(2 / 3))),
        Row(
            (None, "a|b", None, Number(None), Number(1.0)),
            {"ds": ("Missing: y.",), "backbone": ("Unknown.",)},
        ),
    ),
    ("A remark.",),
    partial=True,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.125, "0.13"),
        (0.135, "0.14"),  # the double lies below
        (2.5 - 0.005 - 1e-12, "2.50"),  # arithmetic's dust
        (-0.125, "-0.13"),
        (55.625, "55.63"),
        (-0.001, "0.00"),
        (100.0, "100.00"),
        (0.1249, "0.12"),
    ],
)
def test_rounding_is_half_away_from_zero(value, text):
    assert rounded(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(967, "967"), (52239, "52.24K"), (4737807, "4.74M"), (1136480768, "1.14G")]
)
def test_counts_of_parameters(value, text):
    assert counted(value) == text


def test_csv_has_raw_names_and_every_digit():
    assert to_csv(TABLE) == (
        "rank,backbone,trainable,ds,ds_sd,ov\n"
        "1,unet,52239,33.333333333333336,0.125,0.6666666666666666\n"
        ",a|b,,,,1.0\n"
    )


def test_a_cell_of_numbers_may_be_empty():
    table = Table("x", "A title", COLUMNS, (Row((1, "unet", 2, None, Number(1.0, spread=0.5))),))
    assert to_csv(table) == "rank,backbone,trainable,ds,ov,ov_sd\n1,unet,2,,1.0,0.5\n"


def test_markdown_has_display_names_and_numbered_footnotes():
    text = to_markdown(TABLE, {"backbone": {"unet": "U-Net"}})
    assert (
        text
        == """# A title (partial)

| Rank | Backbone | Trainable |           DS |   OV |
| ---: | -------- | --------: | -----------: | ---: |
|    1 | U-Net    |    52.24K | 33.33 ± 0.13 | 0.67 |
|    – | a\\|b ¹   |         – |           –² | 1.00 |

¹ Unknown.

² Missing: y.

A remark.

Dice in %: DS on the source itself, DG on its siblings, OV on all. ± is the standard deviation over seeds.
"""
    )


def test_what_only_csv_holds_what_stands_above_and_what_is_bold():
    columns = (
        Column("backbone", "Backbone", "text"),
        Column("backbone_printed", "Backbone", "text", shown=False),
        Column("trainable_m", "Trainable", "millions"),
        Column("ds", "DS", group="Brain"),
    )
    rows = (
        Row(("mean", "x", Number(0.05224), Number(60.0, bold=True)), {"backbone_printed": ("Of CSV only.",)}),
    )
    table = Table("table_4.2", "Heads", columns, rows, number="4.2", legend="")
    assert to_csv(table) == "backbone,backbone_printed,trainable_m,ds\nmean,x,0.05224,60.0\n"
    assert (
        to_markdown(table, {})
        == """# Table 4.2: Heads

| Backbone | Trainable |  Brain DS |
| -------- | --------: | --------: |
| Mean     |    52.24K | **60.00** |
"""
    )
