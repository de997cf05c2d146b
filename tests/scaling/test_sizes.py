import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling import InputError, ladder
from scaling.cost import params_by_part, params_kept
from scaling.sizes import SIZE_TOLERANCE, log_spaced, parse_aspect, shape_for


def test_slim_at_twenty_million_is_the_studys_slim():
    shape = shape_for(20e6)
    assert (shape.layers, shape.width, shape.ffn, shape.heads) == (12, 384, 768, 8)


def test_wide_at_twenty_million_has_the_depth_of_the_studys_small():
    shape = shape_for(20e6, aspect="wide")
    assert shape.layers == 3
    assert shape.width == pytest.approx(640, rel=0.05)


@settings(max_examples=30, deadline=None)
@given(st.floats(4e3, 3e7), st.sampled_from(["slim", "wide", 16, 100]))
def test_a_shape_has_the_size_asked_for(size, aspect):
    shape = shape_for(size, aspect=aspect, frontend="logmel")
    assert abs(params_kept(shape) / size - 1) <= 1.01 * SIZE_TOLERANCE
    assert shape.width % shape.heads == 0


def test_layers_outweigh_the_rest_in_small_log_mel_models():
    for shape in ladder(log_spaced(8e3, 1e6, 6), frontend="logmel"):
        parts = params_by_part(shape)
        assert parts["layers"] / sum(parts.values()) > 0.5


def test_a_size_below_the_smallest_shape_is_refused_with_the_smallest():
    with pytest.raises(InputError, match=r"no waveform shape of this size, got '1M'\n  the smallest has 4\.2"):
        shape_for(1e6)


def test_sizes_that_fall_on_one_shape_are_refused():
    with pytest.raises(InputError, match="two sizes give one shape"):
        ladder([20e6, 20.1e6])


@pytest.mark.parametrize("wrong", ["slimm", "deep", -3, None])
def test_an_unknown_aspect_is_refused(wrong):
    with pytest.raises(InputError):
        parse_aspect(wrong, where="grid.yaml:4: model.aspect")
