"""The flags by which people watch a training, and the viewers that they start."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from utils.errors import demand
from viewer.live import LiveModel
from viewer.ports import demand_free
from viewer.remote import RemoteViewer
from viewer.surroundings import Surroundings


@dataclass
class ViewerOptions:
    """Who may watch."""

    ip: str = "127.0.0.1"
    """Address on which the reference's remote viewer (SIBR) is answered. There is no password: whoever
    reaches it sees the model and can pause the training; 127.0.0.1 is for this machine alone."""
    port: int = 6009
    """Port for it; 0: one that is free. Where it is taken, training goes on without, and says so."""
    disable_viewer: bool = False
    """Answer no remote viewer."""
    viewer: bool = False
    """Show the training in a browser, at --ip and --viewer_port, with the same caution."""
    viewer_port: int = 8080
    """Port for the browser; 0: one that is free."""

    def check(self) -> None:
        """Raises a `UserError` that names the first flag with a value that is not allowed."""
        demand(bool(self.ip), "ip", self.ip, "an address of this machine; 0.0.0.0: all of them")
        demand(0 <= self.port < 2**16, "port", self.port, "1 to 65535, or 0 (one that is free)")
        browser = self.viewer_port
        demand(0 <= browser < 2**16, "viewer_port", browser, "1 to 65535, or 0 (one that is free)")
        if self.viewer:
            demand_free(self.ip, browser, "viewer_port")


@contextmanager
def watched(
    options: ViewerOptions,
    iterations: int,
    around: Surroundings,
    source_path: str,
    say: Callable[[str], object],
) -> Iterator[LiveModel]:
    """A training of so many iterations as viewers see it: they are answered while the block runs.

    After its good end they are answered for as long as one asks for that; see `RemoteViewer.linger`.

    Args:
        options: whom to answer.
        iterations: of the whole run.
        around: what the model stands in.
        source_path: the dataset's folder.
        say: takes lines about viewers.
    """
    live = LiveModel(iterations)
    remote = None if options.disable_viewer else _remote_viewer(options, live, around, source_path, say)
    try:
        yield live
        live.finish()
        if remote:
            remote.linger(say)
    finally:
        live.finish()
        if remote:
            remote.close()


def _remote_viewer(
    options: ViewerOptions,
    live: LiveModel,
    around: Surroundings,
    source_path: str,
    say: Callable[[str], object],
) -> RemoteViewer | None:
    """Answers at the address of the flags, or says why it cannot be had."""
    try:
        remote = RemoteViewer((options.ip, options.port), live, around, str(Path(source_path).resolve()))
    except (OSError, UnicodeError) as failure:
        address = f"{options.ip}:{options.port}"
        say(f"remote viewer: none, {address} cannot be had ({failure}); choose another with --ip and --port")
        return None
    say("remote viewer: {}:{}".format(*remote.address))
    return remote
