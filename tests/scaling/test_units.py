import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling import InputError
from scaling.units import format_count, format_flops, format_hours, parse_count, parse_seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8k", 8e3),
        ("1.5M", 1.5e6),
        ("1e18", 1e18),
        ("2.5e12", 2.5e12),
        (5, 5.0),
        (1e18, 1e18),
        ("3B", 3e9),
        ("1_000", 1e3),
    ],
)
def test_counts_are_read_as_people_write_them(text, value):
    assert parse_count(text) == value


@pytest.mark.parametrize(
    "wrong", ["", "abc", "-1", 0, -3, True, None, [], "1e400", "1 k k", float("nan"), "nan", "inf"]
)
def test_what_is_no_positive_number_is_refused_with_place_value_and_remedy(wrong):
    with pytest.raises(InputError, match=r"g\.yaml:3: budgets: not a positive number") as error:
        parse_count(wrong, where="g.yaml:3: budgets")
    assert "1e18" in str(error.value)


@pytest.mark.parametrize("far", [1e61, "1e300", 10**400, 1e-61, 5e-324])
def test_what_no_quantity_comes_to_is_refused(far):
    with pytest.raises(InputError, match=r"beyond any number here|not a positive number"):
        parse_count(far)


@given(st.floats(min_value=1e-3, max_value=1e22))
def test_a_count_survives_its_shortest_form(number):
    assert parse_count(format_count(number).replace("T", "e12")) == pytest.approx(number, rel=6e-3)


@given(st.floats(min_value=1e5, max_value=1e28))
def test_flops_survive_their_short_form(flops):
    assert parse_count(format_flops(flops)) == pytest.approx(flops, rel=6e-3)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172800), (30, 30)])
def test_times(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("wrong", [0, "0", "0h", "-5m", "5 weeks", None])
def test_no_time_at_all_is_refused_since_slurm_reads_zero_as_for_ever(wrong):
    with pytest.raises(InputError):
        parse_seconds(wrong)


def test_hours_choose_their_unit():
    assert [format_hours(h) for h in (0.25, 27.31, 17289)] == ["15 min", "27.3 h", "17,289 h"]
