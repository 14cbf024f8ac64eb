"""One thread of torch: the oracle works on small tensors."""

from tests.one_thread import one_thread  # noqa: F401
