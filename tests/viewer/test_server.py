"""Ports and addresses: what cannot be had is said before anything else."""

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import view
from tests.small_scene import arc_of_cameras
from tests.viewer.fake_browser import FakeBrowser
from tests.viewer.waiting import until
from utils.errors import UserError
from viewer.cameras import key_frame_of
from viewer.server import may_connect, start_server


@pytest.fixture
def taken():
    """A port that another program listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_port_in_use_is_named_and_no_other_is_taken(taken):
    with pytest.raises(UserError, match=rf"port {taken} of 127.0.0.1 is in use.*--port"):
        start_server("127.0.0.1", taken, "")


def test_an_address_of_another_machine_is_refused():
    for host in ("192.0.2.1", "no such host"):
        with pytest.raises(UserError, match=f"cannot listen on {host}"):
            start_server(host, 0, "")


def test_it_listens_where_it_was_told_and_shares_nothing():
    server = start_server("127.0.0.1", 0, "a title")
    port = server.get_port()
    try:
        assert server.address == f"http://127.0.0.1:{port}"
        assert server.request_share_url() is None
        with pytest.raises(UserError, match="in use"):
            start_server("127.0.0.1", port, "")
    finally:
        server.stop()
    again = start_server("127.0.0.1", port, "")  # the port is free again at once
    again.stop()


def test_view_says_so_before_anything_else(taken, tmp_path):
    with pytest.raises(UserError, match=f"port {taken} of 127.0.0.1 is in use"):
        view.main(view.Options(model_path=str(tmp_path / "no model"), port=taken))


@pytest.mark.parametrize(
    ("origin", "host", "bound", "allowed"),
    [
        (None, "127.0.0.1:8080", "127.0.0.1", True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1", True),
        ("http://localhost:9000", "localhost:9000", "127.0.0.1", True),  # an SSH tunnel
        ("http://[::1]:8080", "[::1]:8080", "::1", True),
        ("https://evil.example", "127.0.0.1:8080", "127.0.0.1", False),
        ("http://127.0.0.1:3000", "127.0.0.1:8080", "127.0.0.1", False),  # another server of this machine
        ("http://evil.example:8080", "evil.example:8080", "127.0.0.1", False),  # a name that leads here
        ("http://server.lan:8080", "server.lan:8080", "0.0.0.0", True),
        ("https://evil.example", "server.lan:8080", "0.0.0.0", False),
        ("null", "127.0.0.1:8080", "127.0.0.1", False),  # a file, or a frame without rights
        ("http://[bad", "127.0.0.1:8080", "127.0.0.1", False),
        ("http://127.0.0.1:8080", None, "127.0.0.1", False),
    ],
)
def test_who_may_connect(origin, host, bound, allowed):
    assert may_connect(origin, host, bound) == allowed


@settings(max_examples=60, deadline=None)
@given(*[st.one_of(st.none(), st.text(), st.from_regex(r"https?://\[?[a-z0-9:.%]*\]?(:[0-9]*)?"))] * 2)
def test_whatever_a_page_says_of_itself_is_judged(origin, host):
    allowed = may_connect(origin, host, "127.0.0.1")
    assert allowed == (origin is None) or (host and host.startswith(("localhost", "127.", "[::1]")))


def test_a_page_from_elsewhere_learns_nothing_and_is_said_once(capfd):
    server, frame = start_server("127.0.0.1", 0, "a title"), key_frame_of(arc_of_cameras(1)[0])
    try:
        server.gui.add_markdown("the model")
        for _ in range(2):
            other = FakeBrowser(server.address, frame, origin="https://evil.example")
            other.close()
            assert not other.heard
        own = FakeBrowser(server.address, frame, origin=server.address)
        own.wait(lambda message: message.get("props", {}).get("_markdown") == "the model")
        until(lambda: len(server.get_clients()) == 1)
        own.close()
    finally:
        server.stop()
    said = capfd.readouterr().err
    assert said.count("refused a page of 'https://evil.example'") == 1 and "Traceback" not in said


FOUR_GIGABYTES = b"\x82\xff" + (2**32).to_bytes(8, "big") + bytes(4)  # the head of a masked binary frame


@pytest.mark.parametrize("sent", [FOUR_GIGABYTES, b"\x82\x84" + bytes(4) + b"junk"], ids=["claims", "junk"])
def test_a_hostile_message_ends_its_connection_and_nothing_else(sent):
    server, frame = start_server("127.0.0.1", 0, "a title"), key_frame_of(arc_of_cameras(1)[0])
    try:
        hostile = FakeBrowser(server.address, frame)
        until(lambda: len(server.get_clients()) == 1)
        hostile.connection.socket.sendall(sent)
        until(lambda: not hostile.connected and not server.get_clients())
        other = FakeBrowser(server.address, frame)
        until(lambda: len(server.get_clients()) == 1)
        other.close()
    finally:
        server.stop()
