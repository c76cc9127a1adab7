"""What libraries raise on bytes that are not what they take them for: of damaged files, and of such as do harm."""

import struct
import zlib

# Tens of thousands of files with random changes brought up most of them in Pillow, h5py, torch and safetensors; the
# others are what Python code raises that trusts its input.
DAMAGES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
