"""Where processes listen, as the kernel tells it."""

import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

LISTEN = "0A"  # include/net/tcp_states.h


def listening(pids: Iterable[int]) -> set[tuple[str, int]]:
    """Address and port of every TCP socket on which one of the processes listens."""
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == LISTEN and rest[5] in inodes:
                address, _, port = local.partition(":")
                found.add((_readable(address), int(port, 16)))
    return found


def is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)


def _readable(text: str) -> str:
    """Words of four bytes, each in the order of the machine."""
    words = re.findall("........", text)
    packed = b"".join(bytes.fromhex(word)[::-1] for word in words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _sockets(pid: int) -> Iterator[str]:
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return  # gone meanwhile
    for entry in entries:
        try:
            match = re.fullmatch(r"socket:\[(\d+)\]", str(entry.readlink()))
        except OSError:
            continue
        if match:
            yield match[1]
