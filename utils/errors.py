"""Mistakes of the user become one message and exit code 2; warnings are collected and shown once."""

import errno
import os
import select
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn


class UserError(Exception):
    """A mistake in the data or the command.

    The message says what was looked for, where, what was found, and what to do.
    """


def demand(holds: bool, flag: str, value: object, allowed: str) -> None:
    """Raises `UserError` with the flag, its value and what is allowed, unless `holds`."""
    if not holds:
        raise UserError(f"--{flag} {'(empty)' if value == '' else value}: allowed is {allowed}")


@dataclass
class Warnings:
    """Warnings by kind: one line each, however often the thing happened."""

    kinds: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, item: str = "") -> None:
        """Notes that `kind` (a sentence) happened to `item` (a file name, say)."""
        self.kinds.setdefault(kind, []).append(item)

    def extend(self, other: "Warnings") -> None:
        """Takes over all that `other` collected."""
        for kind, items in other.kinds.items():
            self.kinds.setdefault(kind, []).extend(items)

    def lines(self, examples: int = 3) -> list[str]:
        """One line a kind: the sentence, how often, and the first few items."""
        result = []
        for kind, items in self.kinds.items():
            named = [item for item in items if item]
            shown = ", ".join(named[:examples]) + (", ..." if len(named) > examples else "")
            times = f" ({len(items)} times)" if len(items) > 1 else ""
            result.append(f"warning: {kind}{times}{': ' + shown if shown else ''}")
        return result

    def show(self) -> None:
        """Prints the lines to standard error and forgets them."""
        for line in self.lines():
            print(line, file=sys.stderr)
        self.kinds.clear()


def run_program(program: Callable[[], object]) -> NoReturn:
    """Runs a program's main function and ends the process.

    Exit code 0; 2 with one message for a `UserError`, a full disk or a place that cannot be written to;
    130 for an interruption from the keyboard. Anything else is a defect of ours and keeps its trace-back.
    An output that nobody reads any more ends it with 1 and without a word.
    SIGTERM ends it without a word: pycolmap, once imported, would print a stack trace as of a crash.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        program()
    except UserError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        if not _unread_output():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as failure:
        reasons = {
            errno.ENOSPC: "the disk is full; free some space or choose another --model_path",
            errno.EDQUOT: "the disk quota is used up; free some space or choose another --model_path",
            errno.EFBIG: "the file grows larger than the file system or a limit of this account allows",
            errno.ENOENT: "there is no such file or folder, and it cannot be made here; check the path",
            errno.ENOTDIR: "a part of this path is a file; choose another folder",
            errno.EEXIST: "this is a file where a folder is needed; choose another folder",
            errno.EISDIR: "this is a folder where a file is to be written; choose another name",
            errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
            errno.EACCES: "permission denied; choose a folder that you may write to",
            errno.EPERM: "the operation is not permitted here; choose a folder that you may write to",
            errno.EROFS: "the file system is read-only; choose a folder that you may write to",
        }
        if failure.errno not in reasons:
            raise
        where = failure.filename2 or failure.filename or "writing failed"
        print(f"error: {where}: {reasons[failure.errno]}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def _unread_output() -> bool:
    """Whether who read the standard output has gone, as `head` does: then nothing can be said to them."""
    output = select.poll()
    output.register(sys.stdout, 0)  # an error, or that the other end has hung up, is told unasked
    return bool(output.poll(0))
