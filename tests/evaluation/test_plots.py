"""PNG plots: reproducible, also with undefined figures."""

from sap2.evaluation.plots import draw_error_rates, draw_recall

ROWS = [
    {"context": "none", "b_wer": 50.0, "b_wer_low": 40.0, "b_wer_high": 60.0},
    {"context": "full", "b_wer": None, "b_wer_low": None, "b_wer_high": None},
    {"context": "oracle", "b_wer": 5.0, "b_wer_low": None, "b_wer_high": None},
]


def test_plots_are_png_and_the_same_each_time(tmp_path):
    for name in ("a", "b"):
        draw_error_rates(ROWS, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_recall_is_drawn_by_list_size(tmp_path):
    rows = [{"list_size": size, "recall": 0.9, "recall_low": 0.8, "recall_high": 1.0} for size in ("10", "20 to 40")]
    draw_recall(rows, tmp_path / "recall.png")
    assert (tmp_path / "recall.png").stat().st_size > 1000
