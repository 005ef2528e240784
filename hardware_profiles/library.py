"""The curves at hand: those that ship with Spillway and the user's own, which win.

A user's folder is the one given with `--profiles DIR`, or `./hardware_profiles` where that is not the shipped one. Its
curves are `DIR/*.json` and `DIR/curves/*.json`. A curve is known by its `key`; the user's replaces a shipped one of the
same key whatever its kind, so that a measurement takes the place of somebody's table. Two of one key in one folder are
a fault, because nobody could say which was meant.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from hardware_profiles.curve import Curve, read_curve
from hardware_profiles.faults import Fault, Faults, InputError


def shipped_dir() -> Path:
    """The folder `hardware_profiles` as installed."""
    return Path(str(resources.files("hardware_profiles")))


def user_dir(given: Path | None, cwd: Path) -> Path | None:
    """The user's own folder: the one given, else `./hardware_profiles` where it is not the shipped one, else None."""
    if given is not None:
        if not given.is_dir():
            faults = Faults(str(given))
            faults.add("is no folder", "give --profiles a folder with gpus.toml, models.toml or curves")
            faults.check()
        return given
    here = cwd / "hardware_profiles"
    if here.is_dir() and not here.samefile(shipped_dir()):
        return here
    return None


def curve_files(folder: Path) -> tuple[Path, ...]:
    """Every curve file of one profiles folder, in the order of their names."""
    return tuple(sorted((*folder.glob("*.json"), *folder.glob("curves/*.json"))))


def load_curves(user: Path | None = None) -> tuple[Curve, ...]:
    """Shipped curves and those under `user`, which win on equal key; `InputError` names every fault of every file."""
    faults: list[Fault] = []
    curves = _read_folder(shipped_dir(), faults)
    if user is not None:
        curves |= _read_folder(user, faults)
    if faults:
        raise InputError(*faults)
    return tuple(curves[key] for key in sorted(curves, key=repr))


def curves_for(curves: Iterable[Curve], model: str) -> tuple[Curve, ...]:
    """The curves of one model (its canonical name)."""
    return tuple(curve for curve in curves if curve.model == model)


def _read_folder(folder: Path, faults: list[Fault]) -> dict[tuple[object, ...], Curve]:
    found: dict[tuple[object, ...], Curve] = {}
    came_from: dict[tuple[object, ...], Path] = {}
    for path in curve_files(folder):
        try:
            curve = read_curve(path)
        except InputError as error:
            faults.extend(error.faults)
            continue
        if curve.key in found:
            what = (
                f"the same curve as {came_from[curve.key].name} (GPU, model, precision, parallelism and engine agree)"
            )
            faults.append(Fault(what, "keep one of the two", file=str(path)))
        found[curve.key] = curve
        came_from[curve.key] = path
    return found
