"""Ports and addresses: what cannot be had is said before anything else."""

import socket

import pytest

import view
from utils.errors import UserError
from viewer.server import start_server


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
