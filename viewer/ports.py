"""Whether a port of this machine can be listened on, asked before anything else is done."""

import errno
import ipaddress
import socket

from utils.errors import UserError


def demand_free(host: str, port: int, flag: str) -> None:
    """Raises a UserError that names the flag, unless this process may listen on that port of `host` now."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except PermissionError:
        raise UserError(f"--{flag} {port}: this account may not listen there; choose 1024 to 65535") from None
    except (OSError, OverflowError) as failure:
        if isinstance(failure, OSError) and failure.errno == errno.EADDRINUSE:
            raise UserError(in_use(host, port, flag)) from None
        raise UserError(
            f"cannot listen on {host}, port {port} ({failure}); 127.0.0.1 is this machine for itself, "
            "0.0.0.0 all of its addresses"
        ) from None


def in_use(host: str, port: int, flag: str) -> str:
    """The message for a port that another program listens on."""
    return (
        f"port {port} of {host} is in use, perhaps by another viewer; close that, "
        f"or choose another port with --{flag} (0: any that is free)"
    )


def is_loopback(host: str) -> bool:
    """Whether an address or a name is this machine's for itself alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
