"""The web server of the browser's viewer: viser's, on the port that was asked for and nowhere else."""

import io
from contextlib import redirect_stdout

import viser

from utils.errors import UserError
from viewer.ports import demand_free, in_use


class Server(viser.ViserServer):
    """viser's server, silent, and without its public tunnel, which a page in the browser could open."""

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
        server = Server(host=host, port=port, verbose=False)
    if port not in (0, server.get_port()):  # viser goes on to the next one
        server.stop()
        raise UserError(in_use(host, port, flag))
    server.gui.set_panel_label(title)
    server.gui.configure_theme(show_share_button=False, show_logo=False, control_width="large")
    return server
