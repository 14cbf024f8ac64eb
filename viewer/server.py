"""The web server of the browser's viewer: viser's, on the port that was asked for and nowhere else."""

import io
import sys
from contextlib import redirect_stdout
from urllib.parse import urlsplit

import viser
from viser.infra import WebsockClientConnection

from utils.errors import UserError
from viewer.ports import demand_free, in_use, is_loopback


class Server(viser.ViserServer):
    """viser's server, silent, for its own page alone, and without its public tunnel.

    Whatever page a person has open may try to connect to this machine, by name or by 127.0.0.1; viser answers
    all and has no hook for who may come. So a connection is looked at, and closed, before it is spoken to.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host=host, port=port, verbose=False)
        self._refused = False
        self._websock_server.on_client_connect(self._close_to_other_pages)
        self._websock_server.disconnect_all_clients()  # who was faster than the line above comes again

    async def _close_to_other_pages(self, client: WebsockClientConnection) -> None:
        """Ends a connection that a page from elsewhere has opened; says so, once."""
        connection = self._websock_server._live_connections[client.client_id]
        assert connection.request is not None
        origin, host = (connection.request.headers.get(name) for name in ("Origin", "Host"))
        if may_connect(origin, host, self.get_host()):
            return
        if not self._refused:
            self._refused = True
            words = f"warning: the viewer refused a page of {origin!r} that asked {host!r} for it"
            print(words, file=sys.stderr, flush=True)
        await connection.close(1008, "a page from elsewhere")

    def request_share_url(self, verbose: bool = True) -> str | None:
        """None: nothing is shared beyond the address that the server is bound to."""
        return None

    def stop(self) -> None:
        """Closes the port and all connections; may be called twice."""
        with redirect_stdout(io.StringIO()):
            super().stop()

    @property
    def address(self) -> str:
        """What to type into a browser on this machine."""
        host = self.get_host()
        host = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.get_port()}"


def may_connect(origin: str | None, host: str | None, bound: str) -> bool:
    """Whether a connection comes from the server's own page, or from a program, which is no page at all.

    Args:
        origin: where the browser has the page from; None: it is no browser.
        host: what the browser takes the server for.
        bound: the address that the server listens on. Where it is loopback, a page is its own only under a
            name of loopback: any other name may have been made to lead here (DNS rebinding).
    """
    if origin is None:
        return True
    try:
        same = host is not None and urlsplit(origin).netloc == host
        return same and (not is_loopback(bound) or is_loopback(urlsplit(origin).hostname or ""))
    except ValueError:  # no address at all
        return False


def start_server(host: str, port: int, title: str, flag: str = "port") -> Server:
    """A server that browsers can connect to.

    Args:
        host: the address of this machine to listen on; 127.0.0.1 is reached from this machine alone.
        port: TCP port; 0 for any that is free.
        title: stands over the panel.
        flag: that the port came from, for messages.

    Raises:
        UserError: the address is none of this machine's, or the port is in use or not allowed.
    """
    demand_free(host, port, flag)
    with redirect_stdout(io.StringIO()):
        server = Server(host, port)
    if port not in (0, server.get_port()):  # viser goes on to the next one
        server.stop()
        raise UserError(in_use(host, port, flag))
    server.gui.set_panel_label(title)
    server.gui.configure_theme(show_share_button=False, show_logo=False, control_width="large")
    return server
