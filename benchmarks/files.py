"""Time and memory of commands for large files (verify, bundle, pull), compared with common tools."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.big_file import big_file
from benchmarks.command import Command, Run, kill
from benchmarks.goal import Goal
from benchmarks.workplace import LOCAL, Workplace, workplace
from localrouter.bench.results.measure import OURS, Measure
from localrouter.bench.run_progress import RunProgress
from localrouter.bench.servers.processes import ProgramFailed

SPEED = 0.8
"""Minimum speed relative to the compared tool."""
PEAK = 150.0
"""Maximum peak memory of a command in MB, independent of the file size."""
BEYOND_LIMIT = 1.0
"""Maximum MiB that the hub serves beyond the file, interruptions included."""
TOOLS = ("sha256sum", "tar", "sync", "find", "sh")
SECONDS, MEMORY, SERVED, BEYOND = "seconds", "peak memory, MB", "served, MB", "served beyond the file, MiB"
PULL, RESUMED = "pull", "pull, killed half way, then again"
MIB = 1 << 20
_LOOK = 0.01
"""Seconds between two checks of the progress of a pull."""


@dataclass(frozen=True)
class Contest:
    """A command of localrouter and the tools that do the same; the goal compares it with the first of them."""

    name: str
    ours: Command
    peers: Mapping[str, Command]


def contests(place: Workplace) -> list[Contest]:
    """Return the comparisons. A bundle is flushed to disk before it is renamed, so its peer must flush too."""
    file, data, bundle, out, unpacked = place.file, place.file.parent, place.bundle, place.out, place.unpacked
    ours = place.localrouter
    return [
        Contest("verify", ours("verify", "--manifest", place.manifest, LOCAL), {"sha256sum": ["sha256sum", file]}),
        Contest(
            "bundle create",
            ours("bundle", "create", out, LOCAL, "--manifest", place.manifest),
            {
                "tar -c, sync": _shell('tar -cf "$1" "$2" && sync "$1"', out, data),
                "tar -c": ["tar", "-cf", out, data],
            },
        ),
        Contest("bundle verify", ours("bundle", "verify", bundle), {"sha256sum": ["sha256sum", bundle]}),
        Contest(
            "bundle import",
            ours("bundle", "import", bundle),
            {"tar -x, sync": _shell('tar -xf "$1" -C "$2" && find "$2" -type f -exec sync {} +', bundle, unpacked)},
        ),
    ]


def _shell(script: str, *arguments: Path) -> Command:
    return ["sh", "-c", script, "sh", *arguments]


@dataclass
class Measures:
    """Measures so far, by name and meaning."""

    found: dict[tuple[str, str], Measure] = field(default_factory=dict)

    def add(self, name: str, meaning: str, value: float, program: str = OURS) -> None:
        """Add a sample of a measure."""
        key = (name, meaning)
        self.found.setdefault(key, Measure(*key, higher_is_better=False)).add(program, value)

    def add_run(self, name: str, run: Run) -> None:
        """Add run time and peak memory of a command of localrouter."""
        self.add(name, SECONDS, run.seconds)
        self.add(name, MEMORY, run.peak / 1e6)

    def add_served(self, name: str, served: int, size: int) -> None:
        """Add the bytes that the hub sent for a file of `size` bytes."""
        self.add(name, SERVED, served / 1e6)
        self.add(name, BEYOND, (served - size) / MIB)


def measure_files(size: int, repeat: int, progress: RunProgress) -> list[Measure]:
    """Measure everything on a file with `size` bytes of tensors. Raises ProgramFailed."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise ProgramFailed(f"{', '.join(missing)}: not on the PATH, and there is nothing else to compare with")
    progress.say(f"a file of {size / 1e6:,.0f} MB")
    measures = Measures()
    with workplace(big_file(size)) as place:
        place.run(place.localrouter("bundle", "create", place.bundle, LOCAL, "--manifest", place.manifest))
        for turn in range(repeat):
            for contest in contests(place):
                progress.say(f"{contest.name} {turn + 1}/{repeat}")
                _compete(contest, turn, place, measures)
            progress.say(f"{PULL} {turn + 1}/{repeat}")
            _pull(place, measures)
            progress.say(f"{RESUMED} {turn + 1}/{repeat}")
            _resume(place, measures)
    return [*measures.found.values()]


def _compete(contest: Contest, turn: int, place: Workplace, measures: Measures) -> None:
    """Run all programs of a contest once, in reverse order in every second turn, so that order effects cancel out."""
    programs = {OURS: contest.ours, **contest.peers}
    for program in [*programs][:: -1 if turn % 2 else 1]:
        place.clear()
        run = place.run(programs[program])
        if program == OURS:
            measures.add_run(contest.name, run)
        else:
            measures.add(contest.name, SECONDS, run.seconds, program)


def _pull(place: Workplace, measures: Measures) -> None:
    place.clear()
    before = place.hub.served()
    measures.add_run(PULL, place.run(place.pull))
    measures.add_served(PULL, place.hub.served() - before, place.size)


def _resume(place: Workplace, measures: Measures) -> None:
    """Kill a pull when half of the file has arrived, and pull again.

    The hub pauses there. Otherwise megabytes in kernel buffers, sent but not read by the killed process, would count as
    fetched twice, and their number varies.
    """
    place.clear()
    half = place.size // 2
    before = place.hub.served()
    place.hub.hold_after(half)
    with place.started(place.pull) as program:
        while place.arrived() < half:
            program.check()
            time.sleep(_LOOK)
        kill(program)
    measures.add_run(RESUMED, place.run(place.pull))
    measures.add_served(RESUMED, place.hub.served() - before, place.size)


def goals_of(measures: Sequence[Measure]) -> list[Goal]:
    """Return the goals: median speeds, maximum peak memory, and maximum traffic."""
    speeds = [_speed(each) for each in measures if each.meaning == SECONDS and len(each.samples) > 1]
    memory = [_memory(each, measures) for each in measures if each.meaning == MEMORY]
    return speeds + memory + [_beyond(each, measures) for each in measures if each.meaning == BEYOND]


def _speed(measure: Measure) -> Goal:
    """Return the goal of the speed relative to the first tool; the remark has the times of the others."""
    peer, *others = [program for program in measure.samples if program != OURS]
    remark = f"{_median(measure):.2f} s against {_median(measure, peer):.2f} s"
    remark += "".join(f"; {other}: {_median(measure, other):.2f} s" for other in others)
    ratio = measure.times_better(measure.median(peer))
    return Goal(f"{measure.name}: speed against {peer}", ratio, SPEED, "times", at_least=True, remark=remark)


def _memory(measure: Measure, measures: Sequence[Measure]) -> Goal:
    [seconds] = [each for each in measures if (each.name, each.meaning) == (measure.name, SECONDS)]
    name = f"{measure.name}: peak memory"
    return Goal(name, max(measure.samples[OURS]), PEAK, "MB", at_least=False, remark=f"{_median(seconds):.2f} s")


def _beyond(measure: Measure, measures: Sequence[Measure]) -> Goal:
    [served] = [each for each in measures if (each.name, each.meaning) == (measure.name, SERVED)]
    remark = f"{_median(served):.1f} MB served"
    name = f"{measure.name}: fetched beyond the file"
    return Goal(name, max(measure.samples[OURS]), BEYOND_LIMIT, "MiB", at_least=False, remark=remark)


def _median(measure: Measure, program: str = OURS) -> float:
    return median(measure.samples[program])
