"""The boot environment file: CRC-32, then name=value strings, each ended by a zero byte. As fw_setenv and U-Boot write it."""

import struct
import zlib

SIZE = 0x200


def encode(variables, size=SIZE):
    data = b"".join(f"{name}={value}\0".encode() for name, value in variables.items()) + b"\0"
    if len(data) > size - 4:
        raise ValueError(f"{len(data)} bytes of boot variables do not fit into {size - 4}")
    data = data.ljust(size - 4, b"\0")
    return struct.pack("<I", zlib.crc32(data)) + data


def decode(blob):
    """The variables, or None when the checksum is wrong."""
    if len(blob) < 4 or struct.unpack("<I", blob[:4])[0] != zlib.crc32(blob[4:]):
        return None
    strings = blob[4:].split(b"\0\0", 1)[0].split(b"\0")
    return dict(s.decode().split("=", 1) for s in strings if b"=" in s)
