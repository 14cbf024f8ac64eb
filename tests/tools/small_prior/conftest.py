"""One thread of torch: the networks are tiny."""

from tests.one_thread import one_thread  # noqa: F401
