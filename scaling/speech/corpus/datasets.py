"""Data sets of downstream tasks, as torchaudio.datasets knows them: Speech Commands and VoxCeleb1.

torchaudio says which file is in which split, who speaks and which word; the importer reads the audio itself. Its
classes fetch a list of a split that is missing, so what they need is looked for first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.speech.corpus.layouts import OPTION, Layout, Source

COMMANDS = ("speech_commands_v0.02", "speech_commands_v0.01")
LISTS = ("validation_list.txt", "testing_list.txt")
SPLIT_LIST, TRIAL_LIST = "iden_split.txt", "veri_test.txt"
WHERE = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/"
SHARED_SPEAKERS = ("voxceleb1:",)
"""Sources whose test set is other recordings of the speakers in training, as its task asks."""


def speechcommands(root: Path, source: str) -> Layout:
    """Return the files of Speech Commands: a word is the text of its clip, and the testing subset is held out.

    Training has the validation subset too: what a probe is chosen by is its own affair.
    """
    folder = _commands(root, source)
    # given as an archive beside itself, the folder may have any name and lie anywhere
    where: dict[str, Any] = {"url": f"{folder.name}.tar.gz", "folder_in_archive": "."}
    datasets = _datasets()
    found: dict[str, list[Source]] = {}
    for subset in ("training", "validation", "testing"):
        rows = _metadata(datasets.SPEECHCOMMANDS, folder, root=folder.parent, subset=subset, **where)
        if not rows:
            raise InputError(
                f"no clip of the {subset} subset", where=OPTION, value=source, remedy=f"extract the archive to {folder}"
            )
        found[subset] = [Source(folder.parent / path, speaker=speaker, text=word) for path, _, word, speaker, _ in rows]
        _all_there([file.path for file in found[subset]], f"{subset}_list.txt", source)
    return Layout({"train": found["training"] + found["validation"], "held_out": found["testing"]}, whole=True)


def voxceleb1(root: Path, source: str) -> Layout:
    """Return the files of VoxCeleb1 for speaker identification: the test split is held out, of the same speakers."""
    wav = _voxceleb(root, SPLIT_LIST, source)
    datasets = _datasets()
    found: dict[str, list[Source]] = {}
    for subset in ("train", "dev", "test"):
        rows = _metadata(datasets.VoxCeleb1Identification, root / SPLIT_LIST, root=root, subset=subset)
        if not rows:
            raise InputError(
                f"no file of the {subset} split", where=root / SPLIT_LIST, remedy=f"take {SPLIT_LIST} from {WHERE}"
            )
        # torchaudio gives the number of a speaker; the folder is its name
        found[subset] = [Source(wav / path, speaker=Path(path).parts[0]) for path, *_ in rows]
        _all_there([file.path for file in found[subset]], SPLIT_LIST, source)
    return Layout({"train": found["train"] + found["dev"], "held_out": found["test"]}, whole=True)


def voxceleb1_verification(root: Path, source: str) -> Layout:
    """Return the files of VoxCeleb1 for speaker verification: those of the official trials are held out.

    Training has every file of the speakers that are in no trial.
    """
    wav = _voxceleb(root, TRIAL_LIST, source)
    rows = _metadata(_datasets().VoxCeleb1Verification, root / TRIAL_LIST, root=root)
    trials = [(str(wav / first), str(wav / second), bool(same)) for first, second, _, same, *_ in rows]
    if {same for *_, same in trials} != {True, False}:
        raise InputError(
            "a verification needs trials of one speaker and of two",
            where=root / TRIAL_LIST,
            value=f"{len(trials)} trials",
            remedy=f"take {TRIAL_LIST} from {WHERE}",
        )
    tested = [Path(file) for file in sorted({file for first, second, _ in trials for file in (first, second)})]
    _all_there(tested, TRIAL_LIST, source)
    held_out = [Source(path, speaker=path.relative_to(wav).parts[0]) for path in tested]
    apart = {file.speaker for file in held_out}
    train = [Source(path, path.parts[-3]) for path in sorted(wav.glob("*/*/*.wav")) if path.parts[-3] not in apart]
    if not train:
        raise InputError(
            "no speaker to train on besides those of the trials",
            where=OPTION,
            value=source,
            remedy=f"extract vox1_dev_wav.zip to {wav} too",
        )
    return Layout({"train": train, "held_out": held_out}, whole=True, trials=trials)


def _commands(root: Path, source: str) -> Path:
    """Return the folder of Speech Commands that holds a folder a word and the lists of its splits."""
    root = root if root.name else root.resolve()
    tried = [root, *(root / name for name in COMMANDS), *(root / "SpeechCommands" / name for name in COMMANDS)]
    for folder in tried:
        there = [name for name in LISTS if (folder / name).is_file()]
        if len(there) == len(LISTS):
            return folder
        if there or (folder != root and folder.is_dir()):
            (missing, *_) = [name for name in LISTS if name not in there]
            raise InputError(
                f"a split of Speech Commands without its list, {missing}",
                where=OPTION,
                value=source,
                remedy=f"put {missing} of the archive into {folder}: without it nothing tells training from testing",
            )
    raise InputError(
        "no Speech Commands",
        where=OPTION,
        value=source,
        remedy=f"name the folder that holds {COMMANDS[0]}, with {' and '.join(LISTS)} and a folder a word inside",
    )


def _voxceleb(root: Path, needed: str, source: str) -> Path:
    """Return the folder of VoxCeleb1's speakers, where it and a list are there."""
    wav = root / "wav"
    if not (wav.is_dir() and any(wav.iterdir())):
        raise InputError(
            "no VoxCeleb1",
            where=OPTION,
            value=source,
            remedy=f"extract vox1_dev_wav.zip and vox1_test_wav.zip to {wav}: a folder a speaker, as wav/id10001",
        )
    if not (root / needed).is_file():
        raise InputError(
            f"VoxCeleb1 without {needed}, which says what is tested",
            where=OPTION,
            value=source,
            remedy=f"put {needed} into {root}; it is at {WHERE}{needed}",
        )
    return wav


def _datasets() -> Any:
    from scaling.speech.audiolib import audio_datasets

    return audio_datasets()


def _metadata(data_set: Any, where: Path, **settings: Any) -> list[Any]:
    """Return what a data set of torchaudio says of each item; a list that it cannot read is the user's to mend."""
    try:
        data = data_set(download=False, **settings)
        return [data.get_metadata(i) for i in range(len(data))]
    except (ValueError, RuntimeError, OSError) as error:
        raise InputError(
            f"torchaudio cannot read it ({error})", where=where, remedy="take the list as it was published"
        ) from None


def _all_there(files: Sequence[Path], listed: str, source: str) -> None:
    """Refuse a list that names files that are not there: a smaller test set is another one."""
    missing = list(_missing(files))
    if missing:
        raise InputError(
            f"{len(missing)} of {len(files)} files that {listed} names are not there, the first {missing[0]}",
            where=OPTION,
            value=source,
            remedy="extract the archive again, whole",
        )


def _missing(files: Iterable[Path]) -> Iterable[Path]:
    folders: dict[Path, set[str]] = {}  # one look a folder, not one a file of a hundred thousand
    for path in files:
        if path.parent not in folders:
            there = path.parent.iterdir() if path.parent.is_dir() else ()
            folders[path.parent] = {file.name for file in there}
        if path.name not in folders[path.parent]:
            yield path
