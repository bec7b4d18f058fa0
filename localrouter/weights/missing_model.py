"""Error messages for a model that is unknown or not downloaded: existing names, or the command that downloads a build.

Clients on other machines see these messages, so they contain no local path.
"""

import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from math import inf

from localrouter.errors import ModelNotDownloaded, ModelNotFound
from localrouter.weights.build_location import Damaged, Location, Missing
from localrouter.weights.manifest.manifest import Build
from localrouter.weights.name_lookup import forms

_LONGEST_NAME = 100
"""Characters of an unknown name that are repeated in the error message."""


def not_found(name: str, aliases: Sequence[str], names: Sequence[str]) -> ModelNotFound:
    """Return the error for an unknown name; `names` are all valid names."""
    short = name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "..."
    message = f"The model {short!r} does not exist. "
    spelled = [form.casefold() for form in forms(short)]
    aliases_of_forms = [form.partition(":")[0] for form in spelled]
    alias = next((each for each in aliases if each in aliases_of_forms), "")
    variants = [each for each in names if alias and each.startswith(alias + ":")]
    if variants:
        message += f"Builds of {alias!r}: {', '.join(variants)}."
    else:
        message += f"There are: {', '.join(aliases) or 'none'}."
    folded = {each.casefold(): each for each in names}
    close = [match for form in spelled for match in get_close_matches(form, folded, n=1, cutoff=0.8)]
    if close:
        message += f" Did you mean {folded[close[0]]!r}?"
    return ModelNotFound(message, param="model")


def not_downloaded(name: str, looked: Sequence[tuple[Build, Location]]) -> ModelNotDownloaded:
    """Return the error for a name without a usable build; `looked` has the location of each build."""
    damaged = [(build, location) for build, location in looked if isinstance(location, Damaged)]
    builds = [build for build, _ in damaged] or [build for build, _ in looked]
    sentences = [
        _headline(name, many=len(looked) > 1, damaged=bool(damaged)),
        *(f"{build.name} cannot be used: {location.message}." for build, location in damaged),
        *(
            f"{build.name} cannot be used without {', '.join(location.absent)}."
            for build, location in looked
            if isinstance(location, Missing) and location.absent
        ),
        _remedy(min(builds, key=_effort), smallest=len(builds) > 1, again=bool(damaged)),
    ]
    return ModelNotDownloaded(" ".join(sentences), param="model")


def download_command(build: Build) -> str:
    """Return the command that downloads this build, or replaces its damaged file."""
    return f"localrouter pull {shlex.quote(build.name)}"


def _headline(name: str, *, many: bool, damaged: bool) -> str:
    if damaged:
        return f"No usable build of {name!r} is on this machine."
    return f"No build of {name!r} is on this machine." if many else f"The model {name!r} is not on this machine."


def _effort(build: Build) -> tuple[bool, float]:
    """Sort key of builds: those that can be downloaded first, and smaller ones before larger ones."""
    return build.source != "hub", build.size or inf


def _remedy(build: Build, *, smallest: bool, again: bool) -> str:
    match build.source:
        case "hub" if again:
            return f"Fetch it again with: {download_command(build)}"
        case "hub":
            return f"Fetch {'the smallest one' if smallest else 'it'} with: {download_command(build)}"
        case "asset":
            return "It is missing from this installation of localrouter; install it again."
    if again:
        accept = f"localrouter verify {shlex.quote(build.name)}"
        return f"If it was changed on purpose, `{accept}` shows how to accept it. If not: Restore the original file."
    return "Its file is not at the path in the operator's settings."
