import pytest

from scaling import InputError
from sweeps.trainers import load_trainer


def test_the_built_in_trainer_survives_the_import_of_its_parts():
    import scaling.speech.stopwatch
    import scaling.speech.training  # noqa: F401

    trainer = load_trainer("scaling.speech:train")
    assert all(callable(f) for f in (trainer.train, trainer.cost, trainer.prepare, trainer.measure))


def test_a_module_beside_the_grid_is_found(tmp_path):
    (tmp_path / "mine_a.py").write_text("def train(spec, run): ...")
    trainer = load_trainer("mine_a:train", tmp_path)
    assert callable(trainer.train)
    assert trainer.cost is None


@pytest.mark.parametrize("name", ["no_such_module:train", "scaling.nothing:train", "json:no_such_function"])
def test_what_is_not_there_is_refused(name):
    with pytest.raises(InputError, match=r"no such module|has no function"):
        load_trainer(name)


def test_an_import_that_fails_inside_the_trainers_module_shows_its_own_error(tmp_path):
    (tmp_path / "mine_b.py").write_text("import no_such_package_at_all")
    with pytest.raises(InputError, match=r"mine_b.py:1: mine_b fails: ModuleNotFoundError.*no_such_package_at_all"):
        load_trainer("mine_b:train", tmp_path)
    (tmp_path / "mine_c.py").write_text("x = 1\ndef train(:")
    with pytest.raises(InputError, match=r"mine_c.py:2: mine_c fails: SyntaxError"):
        load_trainer("mine_c:train", tmp_path)


@pytest.mark.parametrize(
    "body",
    [
        "return 5",
        "return Cost(params=1, flops_per_step=0, frames_per_step=1)",
        "return Cost(params=1, flops_per_step=float('nan'), frames_per_step=1)",
        "return Cost(params='1', flops_per_step=1, frames_per_step=1)",
        "1 / 0",
    ],
)
def test_a_cost_that_is_none_is_named(tmp_path, body):
    name = f"mine_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(
        f"from scaling import Cost\ndef train(s, r): ...\ndef cost(spec):\n    {body}\n"
    )
    trainer = load_trainer(f"{name}:train", tmp_path)
    with pytest.raises(InputError, match=rf"{name}.cost"):
        trainer.cost(None)
