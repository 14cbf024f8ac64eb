"""One thread of torch for the rasteriser's tests."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread_of_torch():
    """The oracle works on small tensors: a second thread costs more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
