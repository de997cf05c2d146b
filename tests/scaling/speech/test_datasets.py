"""Data sets of downstream tasks, in small trees of their real layout: splits, words, speakers, trials."""

import json
import socket

import numpy as np
import pytest
import soundfile

from scaling import InputError
from scaling.speech.corpus import datasets
from scaling.speech.corpus.importing import import_audio
from scaling.speech.corpus.store import Corpus
from sweeps.cli import main


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr(socket, "create_connection", refuse)


def sound(path, seconds=1.0, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.1 * np.random.default_rng(seed).normal(size=round(seconds * 16_000))
    soundfile.write(path, wave, 16_000)


def commands(folder, lists=datasets.LISTS):
    """Write Speech Commands: three words, four speakers, of whom one validates and one tests, and noise."""
    for i, word in enumerate(("yes", "no", "left")):
        for j, speaker in enumerate(("0a7c2a8d", "1b4c9b89", "2f0ce4d9", "3d9200b9")):
            sound(folder / word / f"{speaker}_nohash_0.wav", seed=10 * i + j)
    sound(folder / "_background_noise_" / "running_tap.wav", seconds=3)
    for name, speaker in zip(datasets.LISTS, ("2f0ce4d9", "3d9200b9"), strict=True):
        if name in lists:
            (folder / name).write_text("".join(f"{w}/{speaker}_nohash_0.wav\n" for w in ("yes", "no", "left")))


def rows(corpus):
    """Return (speaker, text, held out, samples) of each utterance, in the order of the table."""
    names = json.loads((corpus.path / "speakers.json").read_text())
    texts = [u["text"] for i in range(len(corpus.manifest["shards"])) for u in corpus.details(i)]
    return [
        (names[row["speaker"]], text, bool(row["held_out"]), int(row["samples"]))
        for row, text in zip(corpus.table, texts, strict=True)
    ]


@pytest.mark.parametrize("inside", ["SpeechCommands/speech_commands_v0.02", "speech_commands_v0.01", "."])
def test_speech_commands_have_their_words_and_hold_out_the_testing_subset(tmp_path, inside):
    root = tmp_path / "data" / "commands"
    commands(root / inside)
    corpus = import_audio(tmp_path / "out", source=f"speechcommands:{root}", workers=1)
    found = rows(corpus)
    tested = {row for row in found if row[2]}
    assert tested == {("3d9200b9", word, True, 16_000) for word in ("yes", "no", "left")}
    assert {row[0] for row in found if not row[2]} == {"0a7c2a8d", "1b4c9b89", "2f0ce4d9"}
    assert len(found) == 12, "no background noise"


@pytest.mark.parametrize("missing", datasets.LISTS)
def test_speech_commands_without_a_list_are_refused(tmp_path, missing):
    commands(tmp_path / "speech_commands_v0.02", lists=[name for name in datasets.LISTS if name != missing])
    with pytest.raises(InputError, match=f"without its list, {missing}"):
        import_audio(tmp_path / "out", source=f"speechcommands:{tmp_path}")


def test_speech_commands_without_a_word_are_refused(tmp_path):
    folder = tmp_path / "speech_commands_v0.02"
    commands(folder)
    for path in (folder / "left").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"1 of 3 files that validation_list\.txt names are not there, .*left"):
        import_audio(tmp_path / "out", source=f"speechcommands:{tmp_path}")


@pytest.mark.parametrize("kind", ["speechcommands", "voxceleb1", "voxceleb1-verification"])
def test_an_empty_root_is_refused_with_what_to_put_there(tmp_path, kind):
    with pytest.raises(InputError, match=r"no (Speech Commands|VoxCeleb1)") as refused:
        import_audio(tmp_path / "out", source=f"{kind}:{tmp_path}")
    assert refused.value.remedy


SPLIT = {("id10001", "1zcIwhmdeo4"): 1, ("id10001", "7gWzIy6yIIk"): 3, ("id10270", "5r0dWxy17C8"): 1,
         ("id10270", "8jEAjG6SegY"): 2, ("id10271", "1gtz-CUIygI"): 3}  # fmt: skip
TRIALS = (
    "1 id10270/5r0dWxy17C8/00001.wav id10270/8jEAjG6SegY/00001.wav\n"
    "0 id10270/5r0dWxy17C8/00001.wav id10271/1gtz-CUIygI/00001.wav\n"
)


def voxceleb(root, *, long=0):
    """Write VoxCeleb1: two dev speakers' and a test speaker's recordings, and the lists of both tasks."""
    for i, (speaker, recording) in enumerate(SPLIT):
        sound(root / "wav" / speaker / recording / "00001.wav", seconds=40 if i == long else 5, seed=i)
    lines = [f"{number} {'/'.join(names)}/00001.wav\n" for names, number in SPLIT.items()]
    (root / datasets.SPLIT_LIST).write_text("".join(lines))
    (root / datasets.TRIAL_LIST).write_text(TRIALS)


def test_voxceleb_holds_out_the_test_split_whole(tmp_path):
    voxceleb(tmp_path, long=1)
    corpus = import_audio(tmp_path / "out", source=f"voxceleb1:{tmp_path}", workers=1)
    held_out = {row[0]: row[3] for row in rows(corpus) if row[2]}
    assert held_out == {"id10001": 640_000, "id10271": 80_000}, "not cut, though longer than a piece"
    assert [row[0] for row in rows(corpus) if not row[2]] == ["id10001", "id10270", "id10270"]
    with pytest.raises(InputError, match="without trials"):
        corpus.trials()


def test_voxceleb_keeps_the_official_trials(tmp_path):
    voxceleb(tmp_path)
    corpus = import_audio(tmp_path / "out", source=f"voxceleb1-verification:{tmp_path}", workers=1)
    pairs, same = corpus.trials()
    sources = [u["source"] for i in range(len(corpus.manifest["shards"])) for u in corpus.details(i)]
    named = [
        f"{int(one)} " + " ".join(sources[i].split("/wav/")[1] for i in pair)
        for pair, one in zip(pairs, same, strict=True)
    ]
    assert named == TRIALS.splitlines()
    assert set(pairs.ravel()) == set(corpus.held_out())
    assert {row[0] for row in rows(corpus) if not row[2]} == {"id10001"}
    assert corpus.manifest["trials"] == 2
    (corpus.path / "trials.json").write_text("[]")
    with pytest.raises(InputError, match="not the file that the corpus was sealed with"):
        Corpus(corpus.path)


def test_other_trials_are_another_corpus(tmp_path):
    hashes = set()
    for i, trials in enumerate((TRIALS, TRIALS + TRIALS.splitlines(keepends=True)[0])):
        voxceleb(tmp_path)
        (tmp_path / datasets.TRIAL_LIST).write_text(trials)
        source = f"voxceleb1-verification:{tmp_path}"
        hashes.add(import_audio(tmp_path / f"out{i}", source=source, workers=1).hash)
    assert len(hashes) == 2


def test_a_trial_whose_audio_cannot_be_used_is_counted_as_left_out(tmp_path):
    voxceleb(tmp_path)
    third = tmp_path / "wav" / "id10271" / "broken" / "00001.wav"
    third.parent.mkdir()
    third.write_bytes(b"no audio")
    line = "0 id10270/5r0dWxy17C8/00001.wav id10271/broken/00001.wav\n"
    (tmp_path / datasets.TRIAL_LIST).write_text(TRIALS + line)
    corpus = import_audio(tmp_path / "out", source=f"voxceleb1-verification:{tmp_path}", workers=1)
    assert len(corpus.trials()[1]) == 2
    assert corpus.manifest["excluded"][-1]["reason"] == "1 trials of 3, whose audio could not be used"


@pytest.mark.parametrize(
    ("kind", "file", "text", "message"),
    [
        ("voxceleb1", datasets.SPLIT_LIST, None, "without iden_split.txt"),
        ("voxceleb1-verification", datasets.TRIAL_LIST, None, "without veri_test.txt"),
        ("voxceleb1", datasets.SPLIT_LIST, "one two three\n", "torchaudio cannot read it"),
        ("voxceleb1", datasets.SPLIT_LIST, "1 id10001/1zcIwhmdeo4/00001.wav\n", "no file of the dev split"),
        ("voxceleb1", datasets.SPLIT_LIST, "1 id10001/1zcIwhmdeo4/00009.wav\n", "1 of 1 files that iden_split.txt"),
        ("voxceleb1-verification", datasets.TRIAL_LIST, TRIALS.splitlines()[0], "trials of one speaker and of two"),
        ("voxceleb1-verification", datasets.TRIAL_LIST, TRIALS + "0 id10001/a/1.wav id10001/b/1.wav", "not there"),
    ],
)
def test_what_is_missing_or_wrong_is_said_with_a_remedy(tmp_path, kind, file, text, message):
    voxceleb(tmp_path)
    if text is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        import_audio(tmp_path / "out", source=f"{kind}:{tmp_path}")
    assert refused.value.remedy


def test_the_command_says_what_was_made_and_warns_of_no_speaker_that_the_task_shares(tmp_path, capsys):
    voxceleb(tmp_path)
    for kind in ("voxceleb1", "voxceleb1-verification"):
        out = str(tmp_path / kind)
        assert main(["corpus", "import", out, "--from", f"{kind}:{tmp_path}", "--workers", "1"]) == 0
        told = capsys.readouterr()
        assert "share speakers" not in told.err
        assert ("2 trials" in told.out) == (kind != "voxceleb1")
