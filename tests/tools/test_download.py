"""Downloading public scenes, against a server on this machine that can go on, break off, and lie."""

import dataclasses
import hashlib
import io
import json
import socket
import stat
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.programs import run_program
from tools.download import Options, main
from tools.public_scenes.catalogue import ARCHIVES, Archive, chosen
from tools.public_scenes.fetch import fetch
from tools.public_scenes.unpack import unpack
from utils.errors import UserError

PHOTOGRAPH = bytes(range(256)) * 4000  # about 1 MB, so that a break falls into the middle


def zipped(**files: bytes) -> bytes:
    """A zip archive of files; a double underscore in a name is a slash."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


GOOD = zipped(pack__fern__0=PHOTOGRAPH, pack__fern__sparse__cameras=b"lens", pack__horns__0=b"h", junk=b"j")


class Server(ThreadingHTTPServer):
    """Serves `content` under any path.

    Attributes:
        ranges: whether it can begin in the middle.
        longest: bytes after which it hangs up, None for never.
        asked: the Range headers of the requests so far, "" for none.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.kind = GOOD, "application/zip"
        self.ranges = True
        self.longest: int | None = None
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/pack.zip"


class Handler(BaseHTTPRequestHandler):
    """What the server answers."""

    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append(wanted)
        content, start = self.server.content, 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Type", self.server.kind)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.server.longest])

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output is enough."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def archive_at(*urls: str, known: bool = True) -> Archive:
    """The archive of two scenes; `known` with its checksum."""
    scenes = {"fern": "pack/fern", "horns": "pack/horns"}
    whole = Archive("pack.zip", urls, scenes, "https://example.org")
    checksum = hashlib.sha256(GOOD).hexdigest()
    return dataclasses.replace(whole, size=len(GOOD), sha256=checksum) if known else whole


def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/pack.zip"


def test_a_scene_is_fetched_checked_unpacked_and_not_fetched_again(server: Server, tmp_path: Path) -> None:
    archives = [archive_at(server.url)]
    main(Options(("fern",), str(tmp_path)), archives)
    assert (tmp_path / "pack" / "fern" / "0").read_bytes() == PHOTOGRAPH
    assert (tmp_path / "pack" / "fern" / "sparse" / "cameras").read_bytes() == b"lens"
    assert not (tmp_path / "pack" / "horns").exists() and not (tmp_path / "junk").exists()
    main(
        Options(("pack",), str(tmp_path)), archives
    )  # the other scene comes out of the archive that is there
    assert (tmp_path / "pack" / "horns" / "0").read_bytes() == b"h"
    (tmp_path / "archives" / "pack.zip").unlink()
    main(Options(("fern", "horns"), str(tmp_path)), archives)
    assert server.asked == [""]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archives", "pack"]


def test_a_download_that_breaks_off_is_kept_and_continued(server: Server, tmp_path: Path) -> None:
    (tmp_path / "pack.zip.part").write_bytes(GOOD[:1000])
    server.longest = 400_000  # hangs up, three times
    assert fetch(archive_at(server.url), tmp_path).read_bytes() == GOOD
    assert server.asked == [f"bytes={start}-" for start in (1000, 401_000, 801_000)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pack.zip", "pack.zip.json"]


def test_what_came_is_kept_when_nothing_more_comes(server: Server, tmp_path: Path) -> None:
    (tmp_path / "pack.zip.part").write_bytes(GOOD[:5000])
    server.longest = 0
    with pytest.raises(UserError, match=r"(?s)5,000 bytes that came are kept in .*ended after 5,000 of 1,0"):
        fetch(archive_at(server.url), tmp_path)
    assert (tmp_path / "pack.zip.part").read_bytes() == GOOD[:5000]


def test_offline_it_says_so_and_keeps_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "pack.zip.part").write_bytes(GOOD[:5000])
    urls = nobody(), nobody()
    with pytest.raises(UserError, match=r"is this machine online\?") as caught:
        fetch(archive_at(*urls), tmp_path)
    assert all(url in str(caught.value) for url in urls) and "https://example.org" in str(caught.value)
    assert (tmp_path / "pack.zip.part").stat().st_size == 5000


def test_the_next_address_goes_on_where_the_first_one_stopped(server: Server, tmp_path: Path) -> None:
    (tmp_path / "pack.zip.part").write_bytes(GOOD[:5000])
    assert fetch(archive_at(nobody(), server.url), tmp_path).read_bytes() == GOOD
    assert server.asked == ["bytes=5000-"]


def test_a_server_that_cannot_go_on_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "pack.zip.part").write_bytes(b"x" * 5000)
    assert fetch(archive_at(server.url), tmp_path).read_bytes() == GOOD


@pytest.mark.parametrize("length", [len(GOOD), len(GOOD) + 7])
def test_a_part_of_full_or_excessive_length(server: Server, tmp_path: Path, length: int) -> None:
    (tmp_path / "pack.zip.part").write_bytes(GOOD + b"x" * (length - len(GOOD)))
    assert fetch(archive_at(server.url, known=False), tmp_path).read_bytes() == GOOD


def test_a_login_page_does_not_replace_what_came(server: Server, tmp_path: Path) -> None:
    server.ranges, server.content, server.kind = False, b"<html>log in</html>", "text/html; charset=utf-8"
    (tmp_path / "pack.zip.part").write_bytes(GOOD[:5000])
    with pytest.raises(UserError, match="web page"):
        fetch(archive_at(server.url, known=False), tmp_path)
    server.kind = "application/zip"
    with pytest.raises(UserError, match=r"offers bytes 0 to 19 where 5000 to 1\d+ are wanted"):
        fetch(archive_at(server.url), tmp_path)
    assert (tmp_path / "pack.zip.part").read_bytes() == GOOD[:5000]


def test_a_wrong_checksum_puts_the_file_aside(server: Server, tmp_path: Path) -> None:
    server.content = bytes(reversed(GOOD))
    with pytest.raises(UserError, match=r"pack.zip is .* not .*as published.*pack.zip.wrong"):
        fetch(archive_at(server.url), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pack.zip.wrong"]
    server.content = GOOD
    assert fetch(archive_at(server.url), tmp_path).read_bytes() == GOOD


def test_without_a_known_checksum_the_first_one_counts(server: Server, tmp_path: Path) -> None:
    archive = archive_at(server.url, known=False)
    path = fetch(archive, tmp_path)
    record = json.loads((tmp_path / "pack.zip.json").read_text())
    assert record["sha256"] == hashlib.sha256(GOOD).hexdigest() and record["size"] == len(GOOD)
    fetch(archive, tmp_path)
    path.write_bytes(zipped(pack__fern__0=b"another"))
    with pytest.raises(UserError, match=r"as first downloaded, see .*pack.zip.json"):
        fetch(archive, tmp_path)


def test_a_first_download_that_is_no_sound_archive_is_not_recorded(server: Server, tmp_path: Path) -> None:
    server.content = GOOD.replace(PHOTOGRAPH[:100], b"x" * 100, 1)
    with pytest.raises(UserError, match="no sound zip archive"):
        fetch(archive_at(server.url, known=False), tmp_path)
    assert not (tmp_path / "pack.zip.json").exists()


@pytest.mark.parametrize("name", ["../../evil", "/evil", "..\\evil", "C:/evil"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "pack.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("pack/fern/0", b"good")
        file.writestr(f"pack/fern/{name}", b"evil")
    with pytest.raises(UserError, match="leads out of its folder"):
        unpack(path, {"pack/fern": tmp_path / "out" / "fern"})
    assert [found.name for found in tmp_path.rglob("*")] == ["pack.zip"]


def test_links_damage_and_missing_folders_are_refused(tmp_path: Path) -> None:
    path, out = tmp_path / "pack.zip", tmp_path / "out"
    with zipfile.ZipFile(path, "w") as file:
        link = zipfile.ZipInfo("pack/fern/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="leads out"):
        unpack(path, {"pack/fern": out / "fern"})
    path.write_bytes(GOOD.replace(PHOTOGRAPH[:100], b"x" * 100, 1))
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(path, {"pack/horns": out / "horns", "pack/fern": out / "fern"})
    assert sorted(found.name for found in out.iterdir()) == ["horns"], "whole folders stay, half ones do not"
    with pytest.raises(UserError, match="has no folder pack/leaves"):
        unpack(path, {"pack/leaves": out / "leaves"})


def test_too_small_a_disk(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs 1,000,000,000,000,000,000 bytes more"):
        fetch(dataclasses.replace(archive_at(server.url), size=10**18), tmp_path)
    assert not server.asked


def test_scenes_are_found_by_name() -> None:
    assert [(archive.name, scenes) for archive, scenes in chosen(["truck", "flowers"], ARCHIVES)] == [
        ("tandt_db", ["truck"]),
        ("360_extra_scenes", ["flowers"]),
    ]
    assert chosen(["tandt_db"], ARCHIVES)[0][1] == ["train", "truck", "drjohnson", "playroom"]
    with pytest.raises(UserError, match="did you mean lego"):
        chosen(["legos"], ARCHIVES)


def test_the_catalogue_is_consistent() -> None:
    homes = [archive.home(scene) for archive in ARCHIVES for scene in archive.scenes]
    names = [name for archive in ARCHIVES for name in (archive.name, *archive.scenes)]
    assert len(set(homes)) == len(homes) == 29 and len(set(names)) == len(names)
    for archive in ARCHIVES:
        assert all(url.startswith("https://") and url.endswith(f"/{archive.file}") for url in archive.urls)
        assert archive.sha256 is None or len(bytes.fromhex(archive.sha256)) == 32


def test_the_program_lists_and_refuses(tmp_path: Path) -> None:
    listed = run_program("tools/download.py", "--list", "--output", tmp_path)
    assert listed.returncode == 0 and str(tmp_path / "tandt" / "truck") in listed.stdout
    refused = run_program("tools/download.py", "nowhere", "--output", tmp_path)
    assert refused.returncode == 2 and "nowhere" in refused.stderr and "Traceback" not in refused.stderr
