"""The decorators that compile the engine's functions."""

from pathlib import Path

from utils.kernels import Compiler

_compiler = Compiler(
    Path(__file__).parent.glob("*.py"), "compiling the CPU rasteriser (once per machine, about 30 s) ..."
)
device_function = _compiler.device_function
kernel = _compiler.kernel
serial_kernel = _compiler.serial_kernel
