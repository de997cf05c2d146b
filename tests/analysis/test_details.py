"""What `--details` prints: every check that was made is there."""

import numpy as np

from analysis import fit
from analysis.summary import summarise

from .conftest import isoflop_table


def test_every_check_is_printed(table_of):
    rng = np.random.default_rng(0)
    frame = isoflop_table(noise=0.003, sizes=7, seeds=2)
    # a noise that follows D/N, which the variance model finds
    frame["loss"] *= np.exp(0.003 * (frame["tokens"] / frame["params"] / 100) ** 0.5 * rng.normal(size=len(frame)))
    frame["params_total"] = frame["params"] * 1.5 + 1e7
    result = fit(table_of(frame))
    result.judgement["variance"] = {"covariate": "D/N", "slope": 0.5, "p_value": 0.001}
    result.judgement["collapse"] = {
        "status": "compared", "reason": "", "runs": [{}] * 9, "spread": 0.02,
        "outliers": ["r7"],
    }  # fmt: skip
    text = summarise(result.to_dict(), details=True)
    for words in (
        "draws: ",
        "intervals side by side",
        "without:",
        "windows of compute:",
        "least fixed together:",
        "lack of fit",
        "a under other definitions:",
        "the variance goes as (D/N)^0.50",
        "loss curves of 9 runs fall onto one within 0.02; apart from the rest: r7",
        "What is minimised?",
    ):
        assert words in text, words
    assert "checklist:\n  What form" in text


def test_curves_that_were_not_compared_say_why(table_of):
    text = summarise(fit(table_of(isoflop_table(noise=0.003))).to_dict(), details=True)
    assert "loss curves: the runs carry no training curves" in text
