"""What goes into a bundle: packages, libraries, the words that start it, an ARM machine's face."""

from __future__ import annotations

from fnmatch import fnmatch

from costmodel.remote.bundle import ROOT, TEMPORARY

#: Shared libraries that Python, its kept modules, numpy and ONNX Runtime ask for.
LIBRARIES = (
    "ld-linux-aarch64.so.1",
    "libbz2.so.1.0",
    "libc.so.6",
    "libdl.so.2",
    "libexpat.so.1",
    "libffi.so.8",
    "libgcc_s.so.1",
    "liblzma.so.5",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libstdc++.so.6",
    "libutil.so.1",
    "libz.so.1",
)
#: What the device's environment must not bring in: Android sets LD_PRELOAD for its own C library.
START = (
    "env",
    "LD_PRELOAD=",
    "LC_ALL=C.UTF-8",
    "OPENBLAS_NUM_THREADS=1",
    f"TMPDIR={TEMPORARY}",
)
#: The loader takes every library from the bundle, Python nothing from the environment or a home.
LOADER = (
    f"{ROOT}/lib/ld-linux-aarch64.so.1",
    "--inhibit-cache",
    "--library-path",
    f"{ROOT}/lib",
    f"{ROOT}/bin/python3",
    "-E",
    "-s",
)
#: Emulator of user programs: a named processor, since "max" has instructions that no board has and
#: libraries choose their kernels by what there is; and a folder to read before the machine's own.
EMULATED = ("qemu-aarch64", "-cpu", "cortex-a76", "-L", f"{ROOT}/emulated")
_EMULATED_CORES = 4
#: Level, type and size of the caches of such a processor.
_CACHES = (("1", "Data", "64K"), ("1", "Instruction", "64K"), ("2", "Unified", "512K"))

#: Modules that need further libraries, tests, and the tools of packages: not needed to run a model.
_LEFT_OUT = (
    "*.pyi",
    "*.pyx",
    "*/tests/*",
    "_sysconfigdata_*",
    "ensurepip/*",
    "lib-dynload/_crypt.*",
    "lib-dynload/_curses*",
    "lib-dynload/_dbm.*",
    "lib-dynload/_hashlib.*",
    "lib-dynload/_sqlite3.*",
    "lib-dynload/_ssl.*",
    "lib-dynload/_test*",
    "lib-dynload/_uuid.*",
    "lib-dynload/_xxtestfuzz.*",
    "lib-dynload/nis.*",
    "lib-dynload/readline.*",
    "numpy/distutils/*",
    "numpy/f2py/*",
    "numpy/typing/*",
    "onnxruntime/capi/libonnxruntime.so*",  # for C programs: Python's module holds all of it
    "onnxruntime/quantization/*",
    "onnxruntime/tools/*",
    "onnxruntime/transformers/*",
    "pydoc_data/*",
    "sitecustomize.py",
    "test/*",
    "unittest/*",
)


def packages_of(python: str) -> tuple[str, ...]:
    """Names of the Debian packages.

    >>> packages_of("python3.11")[:2]
    ('python3.11-minimal', 'libpython3.11-minimal')
    """
    return (
        f"{python}-minimal",
        f"lib{python}-minimal",
        f"lib{python}-stdlib",
        "libc6",
        "libgcc-s1",
        "libstdc++6",
        "libbz2-1.0",
        "libexpat1",
        "libffi8",
        "liblzma5",
        "zlib1g",
    )


def is_left_out(name: str) -> bool:
    """Whether a file of Python or of a wheel stays out of bundles.

    Args:
        name: its path under Python's library folder, or in the wheel.

    >>> is_left_out("json/decoder.py"), is_left_out("numpy/lib/tests/test_io.py")
    (False, True)
    """
    return any(fnmatch(name, pattern) for pattern in _LEFT_OUT)


def arm_system() -> dict[str, str]:
    """Files of ``/proc`` and ``/sys`` of a machine with Cortex-A76 processors, by path.

    An emulator of user programs shows them the host's own files. ONNX Runtime looks there for the
    processor it runs on, and crashes on what an x86 says.
    """
    features = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm"
    stanza = (
        "processor\t: {core}\n"
        "BogoMIPS\t: 108.00\n"
        f"Features\t: {features} lrcpc dcpop asimddp\n"
        "CPU implementer\t: 0x41\n"
        "CPU architecture: 8\n"
        "CPU variant\t: 0x4\n"
        "CPU part\t: 0xd0b\n"
        "CPU revision\t: 1\n\n"
    )
    cores = range(_EMULATED_CORES)
    span = f"0-{_EMULATED_CORES - 1}\n"
    cpus = "sys/devices/system/cpu"
    files = {"proc/cpuinfo": "".join(stanza.format(core=core) for core in cores)}
    files |= {f"{cpus}/{name}": span for name in ("online", "possible", "present")}
    files[f"{cpus}/kernel_max"] = span[2:]
    for core in cores:
        files |= {
            f"{cpus}/cpu{core}/{name}": f"{value}\n"
            for name, value in (
                ("topology/physical_package_id", "0"),
                ("topology/core_id", core),
                ("regs/identification/midr_el1", "0x00000000414fd0b1"),
                ("cpufreq/cpuinfo_max_freq", "2400000"),
                *(
                    (f"cache/index{index}/{field}", value)
                    for index, cache in enumerate(_CACHES)
                    for field, value in zip(("level", "type", "size"), cache, strict=True)
                ),
            )
        }
    return files
