"""The laws: one object each, by name."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import numpy as np

from analysis.data.points import Points
from analysis.laws.base import CustomLaw, Law
from analysis.laws.bends import Broken, Farseer, Kaplan, Skaling
from analysis.laws.powers import Chinchilla, OverTraining, Power, ThreeTerm, Tied
from analysis.laws.repetition import Bounded, DataConstrained, OverFitting
from scaling.errors import InputError, did_you_mean

LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        Chinchilla(),
        Tied(),
        OverTraining(),
        Kaplan(),
        Skaling(),
        Farseer(),
        DataConstrained(),
        OverFitting(),
        Bounded(),
        ThreeTerm(),
        *(Power(variable) for variable in "NDC"),
        *(Broken(variable) for variable in "NDC"),
    )
}


def law_named(name: str) -> Law:
    """Return a law by its name, or a law of one's own as `module:object` or `file.py:object`.

    Raises:
        InputError: When there is no such law.
    """
    if name in LAWS:
        return LAWS[name]
    place, colon, attribute = name.rpartition(":")
    if not colon:
        raise InputError(
            "no such law",
            where="--law",
            value=name,
            remedy=did_you_mean(name, [*LAWS, "auto"]) + "; a law of your own is FILE.py:OBJECT",
        )
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(place).stem, place)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        law = getattr(module, attribute)
    except Exception as error:
        raise InputError(
            f"the law cannot be imported ({type(error).__name__}: {error})", where="--law", value=name
        ) from None
    if not isinstance(law, Law):
        raise InputError(
            "not a law", where="--law", value=name, remedy="name an analysis.laws.CustomLaw or an object of a subclass"
        )
    _tried(law, name)
    return law


def _tried(law: Law, name: str) -> None:
    """Refuse a law that cannot be evaluated: a name that it does not know, a guess that is missing.

    Raises:
        InputError: When it raises at some point of its own guesses.
    """
    x = Points.of(N=[1e7, 1e8, 1e9], D=[1e9, 1e10, 1e11], C=[1e17, 1e18, 1e19], U=[1e9, 1e10, 1e10], B=[1e5, 1e5, 1e6])
    try:
        law.log_loss(law.starts(x, np.array([3.0, 2.5, 2.0]))[0], x)
    except Exception as error:
        raise InputError(
            f"the law cannot be evaluated ({type(error).__name__}: {error})",
            where="--law",
            value=name,
            remedy="its loss takes x and every name of guesses; x has N, D, C, U and B",
        ) from None


__all__ = [
    "LAWS", "Bounded", "Broken", "Chinchilla", "CustomLaw", "DataConstrained", "Farseer", "Kaplan", "Law",
    "OverFitting", "OverTraining", "Power", "Skaling", "ThreeTerm", "Tied", "law_named",
]  # fmt: skip
