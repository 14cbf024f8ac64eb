"""Packages that not every user needs: imported where they are used, and asked for in one sentence."""

import importlib
from typing import Any

from utils.errors import UserError


def importable(name: str) -> bool:
    """Whether a module can be imported, which is then done."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def optional_module(name: str, use: str, package: str = "") -> Any:
    """The module of that name.

    Args:
        name: of the module, and of the package that `pip install` knows.
        use: what needs it, "--dicom needs pydicom" say: the message's beginning.
        package: what `pip install` knows it by, where that is another name.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as failure:
        raise UserError(
            f"{use}, which cannot be imported ({failure}); run: pip install {package or name}"
        ) from failure
