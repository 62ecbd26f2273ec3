"""A device's sensors in files, as Linux shows them."""

from __future__ import annotations

from pathlib import Path

from costmodel.remote.agent.health import Health


class Sensors:
    """Clocks of some processors, and two thermal zones.

    Args:
        root: folder that stands for the root of the file system.
        max_khz: greatest clock of each processor.
        temperature: of the processor, in thousandths of a degree.
    """

    def __init__(self, root: Path, max_khz: dict[int, int], temperature: int = 40_000) -> None:
        self.root = root
        self.cores = sorted(max_khz)
        for core, khz in max_khz.items():
            folder = root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
            folder.mkdir(parents=True)
            for name in ("cpuinfo_max_freq", "scaling_max_freq", "scaling_cur_freq"):
                (folder / name).write_text(f"{khz}\n")
            (folder / "scaling_governor").write_text("schedutil\n")
        for number, (kind, value) in enumerate((("cpu", temperature), ("battery", 99_000))):
            zone = root / f"sys/class/thermal/thermal_zone{number}"
            zone.mkdir(parents=True)
            (zone / "type").write_text(kind)
            (zone / "temp").write_text(str(value))

    def heat(self, value: int) -> None:
        (self.root / "sys/class/thermal/thermal_zone0/temp").write_text(str(value))

    def clock(self, khz: int, name: str = "scaling_cur_freq") -> None:
        for core in self.cores:
            folder = self.root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
            (folder / name).write_text(str(khz))

    def health(self) -> Health:
        return Health(self.root, self.cores, 80.0)
