"""Builds the native parts with ninja: see CONTRIBUTING.md, "The build".

libtagnn_fast_ops.so   the ops, on the LibTorch stable ABI, without Python
libtagnn_fast_cuda.so  their CUDA kernels, where there is nvcc and a PyTorch with CUDA
tagnn_fast._C          build information and the instruction-set switch of this process

PyTorch is needed for its headers and libtorch_cpu.so alone and is never imported here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import setuptools
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Before setup() reads pyproject.toml, which older ones cannot.
if int(setuptools.__version__.split(".")[0]) < 77:
    raise SystemExit(
        f"setuptools: expected 77 or newer, got {setuptools.__version__}; pip install 'setuptools>=77', or build "
        "without --no-build-isolation"
    )

ROOT = Path(__file__).parent.resolve()
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "tagnn_fast" / "version.py").read_text())[1]
OLDEST_TORCH = (2, 10)
# Stable ABI of PyTorch 2.10: binaries run on that release and every later one.
TARGET_VERSION = "0x020a000000000000"


def flag(name: str) -> bool | None:
    """Value of an environment variable that holds 0 or 1; None where it is not set."""
    value = os.environ.get(name, "")
    if value not in ("", "0", "1"):
        raise SystemExit(f"{name}: expected 0 or 1, got {value!r}")
    return None if value == "" else value == "1"


def torch_candidates() -> list[Path]:
    """Where PyTorch may be, best first: what the user names, what this Python sees, the target environment.

    Under pip's build isolation the build runs in an environment of its own, but sysconfig's paths are the target's.
    """
    named = os.environ.get("TAGNN_FAST_TORCH_DIR")
    if named:
        return [Path(named).resolve()]
    spec = importlib.util.find_spec("torch")
    found = [Path(spec.origin).parent] if spec is not None and spec.origin else []
    return found + [Path(sysconfig.get_paths()[key]) / "torch" for key in ("platlib", "purelib")]


def find_torch() -> Path | None:
    for path in torch_candidates():
        if (path / "include" / "torch" / "csrc" / "stable" / "library.h").exists():
            return path
    if os.environ.get("TAGNN_FAST_TORCH_DIR"):
        raise SystemExit(
            "TAGNN_FAST_TORCH_DIR: expected the folder of an installed PyTorch 2.10 or newer "
            f"(the one holding include/ and lib/), got {os.environ['TAGNN_FAST_TORCH_DIR']}"
        )
    return None


def torch_version(torch: Path) -> str:
    return re.search(r"__version__ = '(.+)'", (torch / "version.py").read_text())[1]


def torch_has_cuda(torch: Path) -> bool:
    return re.search(r"^cuda.* = '", (torch / "version.py").read_text(), re.MULTILINE) is not None


def find_nvcc(torch: Path) -> str | None:
    """The CUDA compiler where CUDA kernels are to be built, otherwise None.

    By default they are built where nvcc is and PyTorch could run them; TAGNN_FAST_CUDA=1 insists, 0 forbids.
    """
    home = os.environ.get("CUDA_HOME")
    found = shutil.which("nvcc") or (shutil.which("nvcc", path=f"{home}/bin") if home else None)
    wanted = flag("TAGNN_FAST_CUDA")
    if wanted and found is None:
        raise SystemExit(
            "TAGNN_FAST_CUDA=1: expected nvcc on PATH or under CUDA_HOME, found none; install the CUDA toolkit"
        )
    return found if wanted or (wanted is None and torch_has_cuda(torch)) else None


def cuda_architectures() -> list[str]:
    """Flags of nvcc for the GPUs of TORCH_CUDA_ARCH_LIST, which reads like "8.0 9.0a+PTX"."""
    names = os.environ.get("TORCH_CUDA_ARCH_LIST", "8.0 9.0 10.0 12.0+PTX").replace(";", " ").split()
    flags = []
    for name in names:
        if not re.fullmatch(r"\d+\.\d[af]?(\+PTX)?", name):
            raise SystemExit(f"TORCH_CUDA_ARCH_LIST: expected names like 9.0, 9.0a or 8.0+PTX, got {name!r}")
        number = name.removesuffix("+PTX").replace(".", "")
        codes = [f"sm_{number}"] + ([f"compute_{number}"] if name.endswith("+PTX") else [])
        flags += [f"-gencode=arch=compute_{number},code={code}" for code in codes]
    return flags


def capabilities(kernel: Path) -> dict[str, list[str]]:
    """Compiler flags of each instruction set that a kernel file is compiled for."""
    bfloat16 = kernel.stem.endswith("_bfloat16_kernel")
    if sysconfig.get_platform() != "linux-x86_64":  # of what is compiled for, which may not be this machine
        return {} if bfloat16 else {"baseline": []}
    avx2 = ["-mavx2", "-mfma", "-mbmi", "-mbmi2", "-mf16c"]
    avx512 = [*avx2, *(f"-mavx512{part}" for part in ("f", "bw", "cd", "dq", "vl")), "-mprefer-vector-width=512"]
    if not bfloat16:
        return {"baseline": [], "avx2": avx2, "avx512": avx512}
    avx512_bf16 = [*avx512, "-mavx512bf16"]
    return {"avx512_bf16": avx512_bf16, "amx": [*avx512_bf16, "-DTAGNN_FAST_TILES"]}


def ops_version(emulate: bool) -> str:
    """The package's version and a hash of what the ops are compiled from: tells builds of one version apart."""
    names = ("csrc/*.*", "csrc/cpu/*.*", "csrc/cuda/*.*", *(("csrc/cuda/emulation/*.*",) if emulate else ()))
    sources = sorted(path for name in names for path in ROOT.glob(name) if path.suffix in (".cpp", ".cu", ".h"))
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources))
    return f"{VERSION}+{digest.hexdigest()[:12]}"


class BuildNative(build_ext):
    """Writes build.ninja, runs it, and puts the libraries beside the package's Python files."""

    nvcc: str | None = None

    def outputs(self) -> list[Path]:
        module = Path(self.get_ext_fullpath("tagnn_fast._C"))
        libraries = ["libtagnn_fast_ops.so"] + (["libtagnn_fast_cuda.so"] if self.nvcc else [])
        return [*(module.parent / name for name in libraries), module]

    def get_outputs(self) -> list[str]:
        return [str(path) for path in self.outputs()]

    def get_output_mapping(self) -> dict[str, str]:
        return {}

    def run(self) -> None:
        build = self.write_ninja_file()
        jobs = ["-j", os.environ["MAX_JOBS"]] if "MAX_JOBS" in os.environ else []
        if subprocess.run([self.find_ninja(), "-C", str(build), *jobs]).returncode != 0:
            raise SystemExit("Compiling the native library failed; the compiler's message is above")
        self.check_kernels(build)

    def write_ninja_file(self) -> Path:
        """Write build.ninja; the folder that it is in."""
        if not sysconfig.get_platform().startswith("linux-"):
            raise SystemExit(
                f"Operating system: expected Linux, got {sysconfig.get_platform()}; a Linux container does"
            )
        torch = find_torch()
        if torch is None:
            raise SystemExit(
                "No PyTorch to compile against. Install it first (pip install 'torch>=2.10'), or name its folder in "
                "TAGNN_FAST_TORCH_DIR"
            )
        version = torch_version(torch)
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_TORCH:
            raise SystemExit(f"PyTorch: expected 2.10 or newer, got {version} in {torch}")
        compiler = os.environ.get("CXX", "g++")  # may have arguments: "ccache g++"
        if shutil.which(shlex.split(compiler)[0]) is None:
            raise SystemExit(f"C++ compiler: expected {compiler} on PATH, found none; install g++ (or name one in CXX)")
        self.nvcc = find_nvcc(torch)

        build = Path(self.build_temp).resolve()
        build.mkdir(parents=True, exist_ok=True)
        outputs = [path.resolve() for path in self.outputs()]
        outputs[0].parent.mkdir(parents=True, exist_ok=True)
        (build / "build.ninja").write_text(self.ninja_file(torch, version, compiler, outputs))
        return build

    @staticmethod
    def check_kernels(build: Path) -> None:
        """Refuse kernels that share code: the linker would keep one instruction set's copy for all of them."""
        for path in build.glob("*_kernel.*.o"):
            command = [os.environ.get("NM", "nm"), "--demangle", str(path)]
            symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            if shared := re.findall(r"^\S* [WVu] (.+)$", symbols, re.MULTILINE):
                raise SystemExit(
                    f"{path.name}: expected no function that other files may share, got {', '.join(shared)}"
                )

    @staticmethod
    def find_ninja() -> str:
        try:
            import ninja

            return str(Path(ninja.BIN_DIR) / "ninja")
        except ImportError:
            found = shutil.which("ninja")
            if found is None:
                raise SystemExit("ninja: expected on PATH, found none; pip install ninja") from None
            return found

    def ninja_file(self, torch: Path, version: str, compiler: str, outputs: list[Path]) -> str:
        import pybind11

        library, module = outputs[0], outputs[-1]
        sanitize = flag("TAGNN_FAST_SANITIZE") is True
        # The CUDA kernels on the CPU, in place of the CPU's own: for tests on machines without a GPU.
        emulate = flag("TAGNN_FAST_EMULATE_CUDA") is True
        # The tile registers of AMX in plain C++: likewise, on machines without them.
        tiles = ["-DTAGNN_FAST_EMULATED_TILES"] if flag("TAGNN_FAST_EMULATE_AMX") else []
        common = ["-std=c++17", "-fPIC", "-g1", "-Wall", "-Wextra", "-fvisibility=hidden"]
        # Error messages name files of the project, not of this machine.
        common.append(f"-ffile-prefix-map={shell_path(ROOT)}=.")
        # Loops marked `omp simd` are vectorised; products and sums may fuse; the caller's rounding mode stays.
        loops = ["-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
        common += ["-O1", "-fno-omit-frame-pointer"] if sanitize else ["-O3"]
        sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if sanitize else []
        stable = [f"-DTORCH_TARGET_VERSION={TARGET_VERSION}", f"-isystem {shell_path(torch / 'include')}"]
        compiled_by = subprocess.run(
            [*shlex.split(compiler), "--version"], capture_output=True, text=True
        ).stdout.split("\n")[0]
        facts = {"VERSION": VERSION, "COMPILER": compiled_by, "TORCH_VERSION": version}
        macros = [f"'-DTAGNN_FAST_{name}=\"{value}\"'" for name, value in facts.items()]
        macros += [f"-DTAGNN_FAST_WITH_CUDA={int(self.nvcc is not None)}", f"-DTAGNN_FAST_SANITIZED={int(sanitize)}"]
        python = [
            *(f"-isystem {shell_path(path)}" for path in (sysconfig.get_paths()["include"], pybind11.get_include()))
        ]

        lines = [
            "rule compile",
            f"  command = {compiler} -MMD -MF $out.d {' '.join(common + loops + sanitizers)} $flags -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "  description = compile $out",
            "rule link",
            f"  command = {compiler} -shared {' '.join(sanitizers)} $in $flags -o $out",
            "  description = link $out",
            "rule cuda",
            f"  command = {self.nvcc} -MD -MF $out.d -std=c++17 -O3 -DUSE_CUDA -lineinfo -Xptxas -v "
            f"-Xcompiler -fPIC,-fvisibility=hidden {' '.join(cuda_architectures())} $flags -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "  description = compile $out",
            "rule cuda_link",
            # From a file, since nvcc would split options at their commas and expand $ORIGIN.
            f"  command = {self.nvcc} -shared --cudart static $in -Xcompiler @$out.options -o $out",
            "  rspfile = $out.options",
            "  rspfile_content = $flags",
            "  description = link $out",
        ]

        def compile_object(source: Path, name: str, flags: list[str], rule: str = "compile") -> str:
            lines.extend([f"build {name}: {rule} {ninja_path(source)}", f"  flags = {' '.join(flags)}"])
            return name

        def compile_registration(library: int) -> str:
            macros = [f"-DTAGNN_FAST_LIBRARY={library}", f"'-DTAGNN_FAST_OPS_VERSION=\"{ops_version(emulate)}\"'"]
            flags = [*stable, *macros, "-fno-plt"]
            return compile_object(ROOT / "csrc" / "registration.cpp", f"registration.{library}.o", flags)

        objects = [compile_registration(0)]
        cuda_sources = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
        # What is made of ops that are replaced goes with them.
        replaced = {*(source.stem for source in cuda_sources), "encode_sessions"} if emulate else set()
        emulated = [*stable, "-x c++ -Wno-unknown-pragmas", f"-I {shell_path(ROOT / 'csrc' / 'cuda' / 'emulation')}"]
        objects += [compile_object(source, f"{source.stem}.emulated.o", emulated) for source in cuda_sources if emulate]
        for source in sorted([ROOT / "csrc" / "ops.cpp", *(ROOT / "csrc" / "cpu").glob("*.cpp")]):
            if source.stem.removesuffix("_topk").removesuffix("_kernel").removesuffix("_bfloat16") in replaced:
                continue
            if not source.stem.endswith("_kernel"):
                # Sums of few numbers, to the same bits on machines with and without fused products.
                objects.append(compile_object(source, f"{source.stem}.o", [*stable, *tiles, "-ffp-contract=off"]))
                continue
            for capability, flags in capabilities(source).items():
                # Loops throw nothing; what exceptions need would be shared between instruction sets.
                kernel = [f"-DTAGNN_FAST_CAPABILITY={capability}", "-fno-exceptions", *flags, *tiles]
                objects.append(compile_object(source, f"{source.stem}.{capability}.o", kernel))
        # Where pip puts PyTorch beside this package: enough for dlopen without Python. Once its ops are registered, a
        # library is never unloaded.
        options = "-Wl,-rpath,'$$ORIGIN/../torch/lib' -Wl,-z,nodelete"
        lines.extend(
            [
                f"build {ninja_path(library)}: link {' '.join(objects)}",
                f"  flags = -Wl,--no-as-needed -L{shell_path(torch / 'lib')} -ltorch_cpu -Wl,--as-needed {options}",
            ]
        )
        if self.nvcc is not None:
            cuda = [compile_object(source, f"{source.stem}.cuda.o", stable, "cuda") for source in cuda_sources]
            cuda.append(compile_registration(1))
            lines.extend(
                [
                    f"build {ninja_path(outputs[1])}: cuda_link {' '.join(cuda)} | {ninja_path(library)}",
                    f"  flags = -Wl,--no-as-needed -L{shell_path(torch / 'lib')} -ltorch_cpu -Wl,--as-needed {options}",
                ]
            )
        module_object = compile_object(ROOT / "csrc" / "python" / "module.cpp", "module.o", [*macros, *python])
        lines.extend(
            [
                f"build {ninja_path(module)}: link {module_object} | {ninja_path(library)}",
                f"  flags = -L{shell_path(library.parent)} -ltagnn_fast_ops -Wl,-rpath,'$$ORIGIN'",
                "",
            ]
        )
        return "\n".join(lines)


class CompileCommands(BuildNative):
    """Writes how each file would be compiled, for clangd and the like; compiles nothing."""

    description = "write compile_commands.json"

    def run(self) -> None:
        build = self.write_ninja_file()
        command = [self.find_ninja(), "-C", str(build), "-t", "compdb", "compile", "cuda"]
        written = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        (ROOT / "compile_commands.json").write_bytes(written)


def ninja_path(path: Path) -> str:
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def shell_path(path: Path | str) -> str:
    """A path inside a command of build.ninja, which a shell reads."""
    return shlex.quote(str(path)).replace("$", "$$")


building = not {"--help", "clean"} & set(sys.argv)
setup(
    version=VERSION,
    ext_modules=[Extension("tagnn_fast._C", sources=[])],
    cmdclass={"build_ext": BuildNative, "compile_commands": CompileCommands},
    setup_requires=[] if not building or find_torch() is not None else ["torch>=2.10"],
)
