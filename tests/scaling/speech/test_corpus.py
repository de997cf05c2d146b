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
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling import InputError
from scaling.speech.corpus import importing
from scaling.speech.corpus.audio import resample, to_int16
from scaling.speech.corpus.importing import import_audio, pieces, read_blocks
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def noise(seconds, rate=16_000, seed=0, quiet=()):
    """Return noise that is silent for 40 ms at some seconds."""
    wave = 0.2 * np.random.default_rng(seed).standard_normal(round(seconds * rate))
    for at in quiet:
        wave[round((at - 0.02) * rate) : round((at + 0.02) * rate)] = 0.0
    return np.clip(wave, -1, 0.99)


@pytest.mark.parametrize("rate", [16_000, 44_100, 8_000])
def test_a_long_file_is_cut_where_it_is_quiet_and_loses_no_sample(tmp_path, rate):
    source = tmp_path / "in"
    source.mkdir()
    soundfile.write(source / "long.wav", noise(100, rate, quiet=(32.0, 64.5)), rate)
    soundfile.write(source / "short.wav", noise(2, rate, 1), rate)
    (source / "a.trans.txt").write_text("long THE WHOLE STORY\nshort THE MORAL\n")
    corpus = import_audio(tmp_path / "out", source=str(source), workers=1)
    rows = [row for i in range(len(corpus.manifest["shards"])) for row in corpus.details(i)]
    long = [u for u, row in enumerate(rows) if "/long.wav" in row["source"]]
    whole = soundfile.read(str(source / "long.wav"), dtype="float32")[0]
    expected = to_int16(resample(whole, rate))
    assert len(expected) == 1_600_000
    np.testing.assert_array_equal(np.concatenate([corpus.samples(u) for u in long]), expected)
    lengths = [len(corpus.samples(u)) / 16_000 for u in long]
    assert lengths == pytest.approx([32.0, 32.5, lengths[2], 35.5 - lengths[2]], abs=0.03)
    assert max(lengths) <= 35
    starts = [float(rows[u]["source"].rpartition("#t=")[2]) for u in long]
    assert starts == pytest.approx(np.cumsum([0, *lengths[:-1]]), abs=0.01)
    assert {row["text"] for row in rows} == {"", "THE MORAL"}


@given(st.integers(1, 2_000_000), st.integers(1, 700_000), st.integers(0, 9))
@settings(deadline=None, max_examples=30)
def test_pieces_are_the_stream_whatever_its_blocks(samples, block, seed):
    stream = np.random.default_rng(seed).integers(-32768, 32768, samples).astype(np.int16)
    cut = list(pieces(stream[i : i + block] for i in range(0, samples, block)))
    np.testing.assert_array_equal(np.concatenate(cut), stream)
    assert all(30 * 16_000 <= len(piece) <= 35 * 16_000 for piece in cut[:-1])
    assert 0 < len(cut[-1]) <= 35 * 16_000
    assert [len(piece) for piece in cut] == [len(piece) for piece in pieces([stream])]


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_blocks_leave_no_trace_in_resampled_audio(tmp_path, rate):
    wave = noise(7.3, rate)
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    expected = to_int16(resample(wave.astype(np.float32), rate))
    for seconds in (1, 2, 7, 30):
        np.testing.assert_array_equal(np.concatenate(list(read_blocks(tmp_path / "a.wav", seconds))), expected)


def test_the_identity_does_not_depend_on_the_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "FILES_PER_SHARD", 2)
    for i in range(9):
        (tmp_path / "in" / f"s{i // 2}").mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "in" / f"s{i // 2}" / f"{i}.flac", noise(40 if i == 3 else 2, seed=i), 16_000)
    made = [import_audio(tmp_path / f"out{n}", source=str(tmp_path / "in"), workers=n) for n in (1, 3)]
    assert made[0].hash == made[1].hash
    assert len(made[0].table) == 10
    assert len(made[0].manifest["shards"]) > 4


def test_large_files_share_no_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "SHARD_BYTES", 100_000)
    (tmp_path / "in").mkdir()
    for i in range(6):
        soundfile.write(tmp_path / "in" / f"{i}.wav", tone(2.0), 16_000)  # 64 kB each
    corpus = import_audio(tmp_path / "out", source=str(tmp_path / "in"), workers=1)
    assert [shard["samples"] for shard in corpus.manifest["shards"]] == [32_000] * 6


def test_files_in_other_formats_are_named_up_to_a_number(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a", "b"):
        soundfile.write(source / f"{name}.wav", tone(2.0), 16_000)
    (source / "notes.txt").write_text("no audio")
    for i in range(130):
        (source / f"{i:03d}.{'mp3' if i % 2 else 'M4A'}").write_bytes(b"")
    corpus = import_audio(tmp_path / "out", source=str(source), workers=1)
    excluded = corpus.manifest["excluded"]
    assert len(excluded) == 101
    assert all("neither wav nor flac" in item["reason"] for item in excluded)
    assert excluded[0]["file"].endswith("000.M4A")
    assert excluded[-1]["reason"].startswith("30 more files (15 .m4a, 15 .mp3)")
    for name in ("a", "b"):
        (source / f"{name}.wav").unlink()
    with pytest.raises(InputError, match=r"130 in other formats \(65 \.m4a, 65 \.mp3\) have to be converted"):
        import_audio(tmp_path / "none", source=str(source))


def test_a_file_that_was_cut_short_is_left_out(tmp_path):
    for speaker in ("x", "y"):
        source = tmp_path / "in" / speaker
        source.mkdir(parents=True)
        for name in ("a", "short", "piped"):
            soundfile.write(source / f"{name}.wav", noise(2.0), 16_000)
        soundfile.write(source / "half.flac", noise(40.0), 16_000)
        for name in ("short.wav", "half.flac"):
            data = (source / name).read_bytes()
            (source / name).write_bytes(data[: len(data) // 2])
        data = (source / "piped.wav").read_bytes()  # a program that writes to a pipe does not know the length
        at = data.index(b"data") + 4
        (source / "piped.wav").write_bytes(data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :])
    corpus = import_audio(tmp_path / "out", source=str(tmp_path / "in"), workers=1)
    excluded = {item["file"].rsplit("/", 1)[1]: item["reason"] for item in corpus.manifest["excluded"]}
    assert set(excluded) == {"short.wav", "half.flac"}
    assert excluded["short.wav"] == "cut short: its header says 64,000 bytes of samples, and there are 31,978"
    assert "unreadable" in excluded["half.flac"]
    assert len(corpus.table) == 4
    assert set(corpus.table["samples"]) == {32_000}


def librilight(root, parts, *, dev_clean=()):
    for part, speakers in parts.items():
        for i, speaker in enumerate(speakers):
            book = root / part / speaker / f"book_{i}_64kb_mp3"
            book.mkdir(parents=True)
            soundfile.write(book / "chapter_01.flac", noise(2.0, seed=i), 16_000)
            (book / "chapter_01.json").write_text(json.dumps({"speaker": speaker, "snr": 5}))
    for speaker in dev_clean:
        chapter = root / "LibriSpeech" / "dev-clean" / speaker / "198"
        chapter.mkdir(parents=True)
        soundfile.write(chapter / f"{speaker}-198-0000.flac", tone(2.0), 16_000)
        (chapter / f"{speaker}-198.trans.txt").write_text(f"{speaker}-198-0000 HELLO\n")


def speakers_of(corpus, held_out):
    names = json.loads((corpus.path / "speakers.json").read_text())
    return sorted({names[i] for i in corpus.table["speaker"][corpus.table["held_out"] == held_out]})


def test_librilight_holds_out_dev_clean_and_hears_none_of_its_speakers(tmp_path):
    librilight(tmp_path, {"small": ["10", "84"], "medium": ["11", "10"]}, dev_clean=["84", "85"])
    corpus = import_audio(tmp_path / "out", source=f"librilight:{tmp_path}", workers=1)
    assert speakers_of(corpus, False) == ["10", "11"]
    assert speakers_of(corpus, True) == ["84", "85"]
    assert len(corpus.table) == 5
    assert [item["reason"] for item in corpus.manifest["excluded"]] == ["its speaker is held out (dev-clean)"]


@pytest.mark.parametrize("parts", [("unlab-60k/small", "unlab-60k/large"), ("1h/0/clean", "1h/3/other"), ("9h/clean",)])
def test_librilight_without_dev_clean_holds_out_one_speaker_in_twenty(tmp_path, parts):
    """Its own parts in a folder inside, and the layout of the sets for limited supervision."""
    librilight(tmp_path, {part: [str(100 * n + i) for i in range(20)] for n, part in enumerate(parts)})
    corpus = import_audio(tmp_path / "out", source=f"librilight:{tmp_path}", workers=1)
    assert len(speakers_of(corpus, True)) == len(parts)
    assert len(speakers_of(corpus, False)) == 19 * len(parts)
    assert not set(speakers_of(corpus, True)) & set(speakers_of(corpus, False))


def test_a_tree_that_is_not_librilight_is_refused_with_what_was_found(tmp_path):
    (tmp_path / "tiny").mkdir()
    with pytest.raises(InputError, match="no Libri-Light with a part small, medium, large") as refused:
        import_audio(tmp_path / "out", source=f"librilight:{tmp_path}")
    assert "found: tiny" in str(refused.value)
