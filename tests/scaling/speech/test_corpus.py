"""Corpora: the same samples for a seed, whatever dies; held-out clips that share nothing; nested subsets."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import wave

import numpy as np
import pytest
import soundfile

from scaling import InputError
from scaling.speech.corpus.importing import import_audio
from scaling.speech.corpus.store import Corpus, utterance_frames
from scaling.speech.corpus.synth import synthesise


def tone(seconds, rate=16_000, hertz=440.0):
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def texts_and_speakers(corpus, *, held_out):
    texts, speakers = set(), set()
    for i, shard in enumerate(corpus.manifest["shards"]):
        if shard["name"].startswith("held_out") == held_out:
            for utterance in corpus.details(i):
                texts.update(sentence.strip() for sentence in utterance["text"].split("."))
                speakers.add(utterance["speaker"])
    return texts - {""}, speakers


def test_a_seed_gives_the_same_samples(corpus, tmp_path):
    again = synthesise(tmp_path / "again", hours=0.1, seed=0, workers=1)
    assert again.hash == corpus.hash
    assert synthesise(tmp_path / "other", hours=0.02, seed=1, workers=1).hash != corpus.hash


def test_hours_are_those_asked_for_and_held_out_clips_come_on_top(corpus):
    assert corpus.hours == pytest.approx(0.1, abs=15 / 3600)
    assert corpus.manifest["held_out_hours"] == pytest.approx(0.02, abs=15 / 3600)


def test_held_out_clips_share_no_voice_and_no_sentence_with_training(corpus):
    train_texts, train_speakers = texts_and_speakers(corpus, held_out=False)
    held_texts, held_speakers = texts_and_speakers(corpus, held_out=True)
    assert not train_texts & held_texts
    assert not train_speakers & held_speakers


def test_no_text_comes_twice(corpus):
    texts = [u["text"] for i in range(len(corpus.manifest["shards"])) for u in corpus.details(i)]
    assert len(texts) == len(set(texts))


def test_phones_lie_within_their_utterance_in_order(corpus):
    for utterance in corpus.details(0):
        starts = [start for start, _ in utterance["phones"]]
        assert starts == sorted(starts)
        assert 0 <= starts[0] <= starts[-1] <= utterance["samples"]
        assert all(name for _, name in utterance["phones"])


def test_speech_is_heard_and_not_clipped(corpus):
    samples = corpus.samples(0).astype(float)
    assert 300 < samples.std() < 12_000
    assert (np.abs(samples) == 32_768).mean() < 1e-3


def test_subsets_are_nested(corpus):
    sets = [set(corpus.subset(hours)) for hours in (0.01, 0.03, 0.1)]
    assert sets[0] < sets[1] < sets[2]
    seconds = corpus.table["samples"][corpus.subset(0.03)].sum() / 16_000
    assert 0.03 * 3600 <= seconds <= 0.03 * 3600 + 20
    assert not sets[2] & set(corpus.held_out())


def test_more_hours_than_there_are_is_refused(corpus):
    with pytest.raises(InputError, match=r"more hours than the corpus has \(0\.1"):
        corpus.subset(5, where="grid.yaml:8: unique_hours")


def test_a_build_killed_in_the_middle_goes_on_and_gives_the_same_corpus(corpus, tmp_path):
    folder = tmp_path / "killed"
    code = (
        "from scaling.speech.corpus.synth import synthesise; from pathlib import Path; import sys\n"
        "if __name__ == '__main__': synthesise(Path(sys.argv[1]), hours=0.1, seed=0, workers=1)"
    )
    (tmp_path / "build.py").write_text(code)
    process = subprocess.Popen([sys.executable, str(tmp_path / "build.py"), str(folder)], start_new_session=True)
    until = time.monotonic() + 60
    while not list((folder / "shards").glob("*.i16") if (folder / "shards").exists() else []):
        assert time.monotonic() < until
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(InputError, match="never finished"):
        Corpus(folder)
    assert synthesise(folder, hours=0.1, seed=0, workers=1).hash == corpus.hash


def test_another_corpus_in_the_folder_is_refused(corpus):
    with pytest.raises(InputError, match="another corpus is in this folder; different: hours"):
        synthesise(corpus.path, hours=0.2, seed=0)


def test_a_folder_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="not empty"):
        synthesise(tmp_path, hours=0.1)


def test_a_changed_sample_is_found_by_verify_and_a_shorter_shard_at_once(corpus, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(corpus.path, copy)
    shard = next((copy / "shards").glob("*.i16"))
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)
    changed = Corpus(copy)
    with pytest.raises(InputError, match="not the file that the corpus was sealed with"):
        changed.verify()
    shard.write_bytes(data[:-2])
    with pytest.raises(InputError, match=shard.name):
        Corpus(copy)


def test_import_reads_any_rate_and_channels(tmp_path):
    for speaker, rate in (("anna", 44_100), ("ben", 8_000), ("carl", 16_000)):
        (tmp_path / "in" / speaker).mkdir(parents=True)
        stereo = np.stack([tone(3.0, rate), tone(3.0, rate)], axis=1)
        soundfile.write(tmp_path / "in" / speaker / f"a.{'flac' if rate == 44_100 else 'wav'}", stereo, rate)
    corpus = import_audio(tmp_path / "out", source=str(tmp_path / "in"), workers=1)
    assert len(corpus.table) == 3
    assert corpus.table["held_out"].sum() == 1
    assert set(corpus.table["samples"]) == {48_000}
    spectrum = np.abs(np.fft.rfft(corpus.samples(0).astype(float)))
    assert np.argmax(spectrum) * 16_000 / 48_000 == pytest.approx(440, abs=1)


def test_audio_that_cannot_be_used_is_named_and_the_rest_imported(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a", "b", "c"):
        soundfile.write(source / f"{name}.wav", tone(2.0), 16_000)
    (source / "torn.flac").write_bytes(b"fLaC\x00\x00")
    (source / "none.wav").write_bytes(b"")
    with wave.open(str(source / "silent.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", "none"))
    corpus = import_audio(tmp_path / "out", source=str(source), workers=1)
    assert len(corpus.table) == 3
    excluded = {item["file"].rsplit("/", 1)[1]: item["reason"] for item in corpus.manifest["excluded"]}
    assert set(excluded) == {"torn.flac", "none.wav", "silent.wav"}
    assert excluded["silent.wav"] == "empty"


def test_a_shard_of_nothing_but_broken_files_harms_nobody(tmp_path):
    for i in range(260):
        folder = tmp_path / "in" / f"s{i:03d}"
        folder.mkdir(parents=True)
        if i < 30 or i >= 230:
            soundfile.write(folder / "a.wav", np.sin(np.arange(16_000) / 10), 16_000)
        else:
            (folder / "a.wav").write_bytes(b"RIFF, no more")
    corpus = import_audio(tmp_path / "out", source=str(tmp_path / "in"), workers=2)
    empty = [shard for shard in corpus.manifest["shards"] if not shard["samples"]]
    assert empty
    assert all(len(corpus.samples(u)) == 16_000 for u in range(len(corpus.table)))


def test_a_folder_without_usable_audio_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="0 audio files"):
        import_audio(tmp_path / "out", source=str(tmp_path / "in"))
    for name in ("a.wav", "b.wav"):
        (tmp_path / "in" / name).write_bytes(b"")
    with pytest.raises(InputError, match="no usable training audio"):
        import_audio(tmp_path / "out", source=str(tmp_path / "in"), workers=1)


def test_librispeech_holds_out_dev_clean(tmp_path):
    for part, speaker in (("train-clean-100", "19"), ("train-other-500", "20"), ("dev-clean", "84")):
        chapter = tmp_path / "LibriSpeech" / part / speaker / "198"
        chapter.mkdir(parents=True)
        soundfile.write(chapter / f"{speaker}-198-0000.flac", tone(2.0), 16_000)
        (chapter / f"{speaker}-198.trans.txt").write_text(f"{speaker}-198-0000 HELLO FROM {part}\n")
    corpus = import_audio(tmp_path / "out", source=f"librispeech:{tmp_path}", workers=1)
    assert json.loads((corpus.path / "speakers.json").read_text()) == ["19", "20", "84"]
    assert corpus.table["held_out"].tolist() == [False, False, True]
    assert corpus.details(1)[0]["text"] == "HELLO FROM dev-clean"


def test_a_tree_that_is_not_librispeech_is_refused_with_what_was_found(tmp_path):
    (tmp_path / "dev-clean").mkdir()
    with pytest.raises(InputError, match="found: dev-clean"):
        import_audio(tmp_path / "out", source=f"librispeech:{tmp_path}")


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 0), (560, 1), (16_000, 49), (880, 2)])
def test_frames_of_an_utterance_are_pairs_of_whole_windows(samples, frames):
    assert utterance_frames(samples) == frames
