"""What holds for every page: no command without a test, links, anchors, pictures, options and grids that exist."""

import argparse
import importlib
import re
import shlex

import pytest
import yaml

from analysis.cli import _parser as fit_parser
from scaling import InputError
from sweeps.cli import make_parser as sweep_parser
from sweeps.gridfile import load_grid
from tests.docs import elsewhere
from tests.docs.pages import (
    IMAGE,
    LINK,
    PAGES,
    ROOT,
    anchors,
    blocks,
    changed,
    code_of,
    grid_of,
    prose_of,
    steps,
)

of_every_page = pytest.mark.parametrize("page", PAGES)
SPOKEN = {"console", "python", "yaml", ""}
"""Languages of blocks; what has none is shown, not done."""
FOREIGN = {"--nv", "--mpi", "--hours"}
"""Options of other programs, and one that a placeholder stands beside."""
ROOMS = ("scaling", "sweeps", "analysis")
BUILT_IN = "objective: [hubert, wav2vec2]\ncorpus: {path: corpora/demo}\nmodel: {sizes: [20k]}\nbudgets: [1e12]\n"
PLACES = (
    "{BIT}",
    "cluster: {BIT}",
    "cluster: {slurm: {BIT}}",
    "cluster: {resources: [{up_to: 1B, gpus: 8, BIT}]}",
    "train: {batch: 16, BIT}",
    "model: {sizes: [20k], BIT}",
    "model: {shapes: [{layers: 2, width: 32, ffn: 64, heads: 2, BIT}]}",
)
"""Where a bit of YAML in the prose may belong."""


@of_every_page
def test_blocks_are_of_languages_that_are_executed(page):
    """A console block holds commands alone, one a line; a grid is yaml."""
    assert {language for _, language, _ in blocks(page)} <= SPOKEN
    assert not re.findall(r"^ {4,}(?:\$ |scaling-\w+ |make |pip |python )", prose_of(page), re.M), "not in a block"


def test_what_is_executed_elsewhere_is_so():
    assert elsewhere.stale() == []
    ci, makefile = (ROOT / ".ci" / "run").read_text(), (ROOT / "Makefile").read_text()
    for who in set(elsewhere.ELSEWHERE.values()):
        if who.startswith("make "):
            assert who in ci.splitlines(), f".ci/run does not {who}"
            assert f"\n{who.removeprefix('make ')}: " in makefile
        else:
            file, _, name = who.partition("::")
            assert f"\ndef {name}(" in (ROOT / file).read_text(), who


@of_every_page
def test_commands_are_such_that_the_parsers_know(page):
    """Also those that only a slow test, or another one, executes."""
    for step in steps(page):
        for variant in step.variants() if step.language == "console" else []:
            program, *arguments = shlex.split(variant)
            if program in ("scaling-sweep", "scaling-fit"):
                parser = sweep_parser() if program == "scaling-sweep" else fit_parser()
                parser.exit_on_error = False
                parser.parse_args(arguments)


@of_every_page
def test_links_lead_somewhere(page):
    for target in LINK.findall(prose_of(page)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        assert not anchor or anchor in anchors(str(file.resolve().relative_to(ROOT))), target


@of_every_page
def test_pictures_are_there(page):
    for target in (one or other for one, other in IMAGE.findall(prose_of(page))):
        assert ((ROOT / page).parent / target).is_file(), target


def _verbs():
    """Return command -> its options, of scaling-sweep."""
    (verbs,) = [action for action in sweep_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    found = {}
    for name, parser in verbs.choices.items():
        kinds = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        parsers = [parser, *(one for action in kinds for one in action.choices.values())]
        found[name] = {option for one in parsers for option in one._option_string_actions}
    return found


@of_every_page
def test_commands_and_options_of_the_prose_exist(page):
    verbs, fit = _verbs(), set(fit_parser()._option_string_actions)
    for code in code_of(page):
        program, *words = code.split()
        options = {option.partition("=")[0] for option in re.findall(r"(?<!\S)--[a-z][\w-]*", code)} - FOREIGN
        if program == "scaling-sweep":
            assert not words or words[0] in verbs, code
            assert options <= (verbs[words[0]] if words else set()), code
        elif program == "scaling-fit":
            assert options <= fit, code
        elif program in verbs:
            assert options <= verbs[program], code
        else:
            assert options <= fit.union(*verbs.values()), code


@of_every_page
def test_files_and_modules_of_the_prose_exist(page):
    for code in code_of(page):
        if re.fullmatch(rf"({'|'.join((*ROOMS, 'tests', 'docs', 'examples', 'benchmarks'))})/[\w./-]*", code):
            assert (ROOT / code).exists(), code
        elif re.fullmatch(rf"({'|'.join(ROOMS)})(\.\w+)+", code):
            parent, _, name = code.rpartition(".")
            assert hasattr(importlib.import_module(parent), name) or importlib.import_module(code), code


@of_every_page
def test_grids_load(page, tmp_path, monkeypatch):
    """A whole grid as it stands there, a part of one in place of what another grid says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    for _, _, text in blocks(page, "yaml"):
        if not {"budgets", "steps", "data"} & set(yaml.safe_load(text)):
            text = BUILT_IN + text
        elif page == "docs/formats.md":
            text = _consistent(text)
        (tmp_path / "grid.yaml").write_text(text)
        assert load_grid(tmp_path / "grid.yaml").name


def _consistent(text):
    """Return the example of every key without those of another trainer and without the pilot's file."""
    return re.sub(r"^(trainer|trainer_args|tuned):.*\n", "", text, flags=re.M)


def test_what_the_example_of_every_key_has_in_comments_loads_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    lines = _consistent(changed(grid_of("docs/formats.md"), {"RULE": "{value: 5e-4}"})).splitlines()
    tried = []
    for number, line in enumerate(lines):
        if match := re.match(r"( +)# ((sizes|shapes|peak_lr): .*[\]}])(   .*)?$", line):
            indent, other, key, _ = match.groups()
            rivals = tuple(f"{indent}{one}:" for one in ({"sizes", key} if key == "shapes" else {key}))
            grid = [other if i == number else one for i, one in enumerate(lines) if not one.startswith(rivals)]
            grid[grid.index(other)] = indent + other
            (tmp_path / "grid.yaml").write_text("\n".join(grid))
            assert load_grid(tmp_path / "grid.yaml").name
            tried.append(key)
    assert sorted(tried) == ["peak_lr", "peak_lr", "peak_lr", "shapes", "sizes", "sizes"]


@of_every_page
def test_bits_of_grids_in_the_prose_load(page, tmp_path, monkeypatch):
    """`key: value` between backticks fits somewhere in a grid."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.tuned.yaml").write_text("peak_lr: {value: 1e-3}\nbatch: {value: 16}\n")
    for code in code_of(page):
        if re.match(r"[a-z_.]+: (?!.*\.\.\.)", code):
            bit = re.sub(r"^(\w+)\.(.*)", r"\1: {\2}", code)
            assert any(_loads(bit, place, tmp_path / "grid.yaml") for place in PLACES), code


def _loads(bit, place, file):
    """Whether a bit of YAML is a part of a grid at a place."""
    grid = yaml.safe_load(BUILT_IN) | yaml.safe_load(place.replace("BIT", bit))
    file.write_text(yaml.safe_dump(grid))
    try:
        load_grid(file)
    except InputError:
        return False
    return True
