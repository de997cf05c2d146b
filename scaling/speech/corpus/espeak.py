"""A slim process that speaks: eSpeak NG through its C interface, one fork an utterance.

eSpeak NG keeps state between calls, so a second call of the same voice gives other samples. Each utterance is
therefore synthesised in a fork of a process that has only initialised the library, with the library's own
random numbers seeded: then the samples depend on the request alone. The process imports neither NumPy nor
torch, which keeps a fork below a millisecond.

Run as `python -m scaling.speech.corpus.espeak`; it answers requests, one JSON object a line, on standard input
with frames on standard output: two 4-byte lengths, then int16 samples at 22,050 Hz and JSON phones.

eSpeak NG is GPL-3, so it is an optional extra (`pip install scaling-sweep[synth]`) and is loaded at run time.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
from typing import Any

RATE = 22_050
"""Samples a second that eSpeak NG gives."""

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS
_PHONEME_EVENTS = 1  # espeakINITIALIZE_PHONEME_EVENTS
_CHARS_UTF8 = 1
_EVENT_END, _EVENT_PHONEME = 0, 7
_SPEED, _PITCH, _RANGE = 1, 3, 4


class _Identity(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """A client of the slim process.

    Example:
        >>> speak = Espeak()
        >>> pcm, phones = speak("hello", voice="en-us+m3", pitch=50, range=50, rate=170, seed=0)
        >>> 0.3 < len(pcm) / 2 / 22_050 < 1.5, [name for _, name in phones][:2]
        (True, ['h', '@'])
        >>> speak.close()
    """

    def __init__(self) -> None:
        """Start the process."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __call__(
        self, text: str, *, voice: str, pitch: int, range: int, rate: int, seed: int
    ) -> tuple[bytes, list[list[Any]]]:
        """Return int16 samples at 22,050 Hz and [sample, phone] pairs.

        Args:
            text: What to say.
            voice: Language and variant, such as `en-us+m3`.
            pitch: 0 to 99.
            range: Range of the pitch, 0 to 99.
            rate: Words a minute.
            seed: Seed of the noise in breathy voices.

        Raises:
            RuntimeError: When the process died or knows no such voice.
        """
        request = {"text": text, "voice": voice, "pitch": pitch, "range": range, "rate": rate, "seed": seed}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write((json.dumps(request) + "\n").encode())
        self._process.stdin.flush()
        header = self._process.stdout.read(8)
        if len(header) < 8:
            message = f"eSpeak NG could not say {text!r} with the voice {voice}"
            raise RuntimeError(message)
        samples, phones = struct.unpack("<II", header)
        return self._process.stdout.read(samples), json.loads(self._process.stdout.read(phones))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> None:
    """Answer requests until standard input ends."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    samples = bytearray()
    phones: list[tuple[int, str]] = []

    def receive(wave: Any, count: int, events: Any) -> int:
        if wave and count > 0:
            samples.extend(ctypes.string_at(wave, 2 * count))
        i = 0
        while events[i].type != _EVENT_END:
            if events[i].type == _EVENT_PHONEME:
                phones.append((events[i].sample, events[i].id.string.decode("utf-8", "replace")))
            i += 1
        return 0

    callback = _Callback(receive)
    data_path = espeakng_loader.get_data_path()
    if library.espeak_Initialize(_SYNCHRONOUS, 0, data_path.encode(), _PHONEME_EVENTS) != RATE:
        sys.exit("eSpeak NG does not give 22,050 samples a second")
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            request = json.loads(line)
            text = request["text"].encode()
            library.espeak_ng_SetRandSeed(request["seed"])
            if library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
                os._exit(1)
            for parameter, name in ((_SPEED, "rate"), (_PITCH, "pitch"), (_RANGE, "range")):
                library.espeak_SetParameter(parameter, request[name], 0)
            library.espeak_Synth(text, len(text) + 1, 0, 0, 0, _CHARS_UTF8, None, None)
            library.espeak_Synchronize()
            said = json.dumps(phones).encode()
            with os.fdopen(1, "wb", closefd=False) as out:
                out.write(struct.pack("<II", len(samples), len(said)) + bytes(samples) + said)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
            sys.exit(1)


if __name__ == "__main__":
    main()
