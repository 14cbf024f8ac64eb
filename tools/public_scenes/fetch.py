"""Fetching a file over HTTP: going on where it stopped, checking what came, saying why it did not come."""

import hashlib
import http.client
import json
import re
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

from tqdm import tqdm

from tools.public_scenes.catalogue import Archive
from utils.errors import UserError
from utils.files import write_json

CHUNK = 1 << 20  # bytes
TIMEOUT = 30.0  # seconds without a byte


class _Broken(Exception):
    """The server or the way to it failed; what came so far is kept."""


def fetch(archive: Archive, folder: Path) -> Path:
    """The archive's file in `folder`, whole and checked; what is there already is not fetched again.

    A file that is on its way is `<file>.part`. It is kept when the connection breaks or the program is
    stopped, and the next call goes on from its end, from any of the addresses. The file's size and SHA-256
    are written beside it, to `<file>.json`. Where the catalogue states no checksum, the first download's is
    what later calls check against. A file that a person puts there is checked alike.

    Raises:
        UserError: nothing could be reached, the file is not what it must be, or the disk is too small.
    """
    path, part = folder / archive.file, folder / f"{archive.file}.part"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _demand_space(archive, part)
        _download(archive, part)
        _check(archive, part, folder)
        part.replace(path)
    else:
        _check(archive, path, folder)
    return path


def _download(archive: Archive, part: Path) -> None:
    """Fills the part, from each address for as long as it brings something."""
    failures = []
    for url in archive.urls:
        while _size(part) != archive.size:
            before = _size(part)
            try:
                _continue(url, part, archive.size)
                return
            except _Broken as failure:
                if _size(part) <= before:
                    failures.append(f"\n  {url}: {failure}")
                    break
        else:
            return
    kept = f"; the {_size(part):,} bytes that came are kept in {part}, to go on from" if _size(part) else ""
    raise UserError(
        f"{archive.file} could not be fetched{kept}. Try again later. For a machine without a network, "
        f"fetch it elsewhere (see {archive.page}) and put it into {part.parent}.{''.join(failures)}"
    )


def _continue(url: str, part: Path, size: int | None) -> None:
    """Appends to the part what it still lacks; begins anew where the server cannot go on in the middle.

    Args:
        size: of the whole file, where it is known.

    Raises:
        _Broken: the end was not reached.
    """
    start = _size(part)
    headers = {"User-Agent": "guided-splatting"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response: HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), None, TIMEOUT
        )
    except urllib.error.HTTPError as refusal:
        if start and refusal.code == 416:  # nothing after the part's end: it is whole, or of something else
            if not refusal.headers.get("Content-Range", "").endswith(f"/{start}"):
                part.unlink()
                _continue(url, part, size)
            return
        raise _Broken(f"the server answers {refusal.code} {refusal.reason}") from refusal
    except (OSError, http.client.HTTPException) as failure:
        reason = getattr(failure, "reason", failure)
        raise _Broken(f"no connection ({reason}); is this machine online?") from failure
    with response:
        begin, total = _range(response)
        if begin not in (0, start) or (size and total and total != size):
            raise _Broken(f"the server offers bytes {begin} to {total} where {start} to {size} are wanted")
        with (
            part.open("ab" if begin else "wb") as file,
            tqdm(total=total, initial=begin, unit="B", unit_scale=True, desc=part.stem) as bar,
        ):
            for chunk in _chunks(response):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and _size(part) != total:
        raise _Broken(f"the connection ended after {_size(part):,} of {total:,} bytes")


def _range(response: HTTPResponse) -> tuple[int, int | None]:
    """First byte that is sent, and the whole file's size, None where the server does not say."""
    if response.headers.get_content_type() == "text/html":
        raise _Broken("the server sends a web page instead of the file")
    if response.status != 206:
        length = response.headers.get("Content-Length")
        return 0, int(length) if length else None
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if not match:
        raise _Broken("the server sends a part of the file and does not say which")
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """The body; a failure to read it is told apart from a failure to write it."""
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as failure:
            raise _Broken(f"the connection broke off ({failure})") from failure
        if not chunk:
            return
        yield chunk


def _check(archive: Archive, path: Path, folder: Path) -> None:
    """Compares size and SHA-256 with what the catalogue says or the first download had, and records them.

    Raises:
        UserError: they differ. The file is put aside as `<file>.wrong`, so that it can be looked at and the
            next call begins anew.
    """
    record = folder / f"{archive.file}.json"
    size, sha256, source = archive.size, archive.sha256, "as published"
    if sha256 is None and record.is_file():
        first = json.loads(record.read_text(encoding="utf-8"))
        size, sha256, source = first["size"], first["sha256"], f"as first downloaded, see {record}"
    print(f"checking {path}")
    with path.open("rb") as file:
        found = {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    wanted = {"size": size or found["size"], "sha256": sha256 or found["sha256"]}
    if found != wanted or not zipfile.is_zipfile(path) or (sha256 is None and _is_damaged(path)):
        aside = folder / f"{archive.file}.wrong"
        path.replace(aside)
        what = f"is {found}, not {wanted} ({source})" if found != wanted else "is no sound zip archive"
        raise UserError(
            f"{archive.file} {what}. It was put aside as {aside}; start again to fetch it anew. If that ends "
            f"alike, the file was changed where it is published: see {archive.page}"
        )
    write_json(record, {**found, "checked_against": source if sha256 else "nothing: first download"})


def _is_damaged(path: Path) -> bool:
    """Whether a member of the zip archive fails its own checksum."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is not None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError):
        return True


def _demand_space(archive: Archive, part: Path) -> None:
    missing = (archive.size or 0) - _size(part)
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise UserError(
            f"{part.parent}: {archive.file} needs {missing:,} bytes more and {free:,} are free (unpacking it "
            "takes about as much again); choose another --output"
        )


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
