"""One thread for the builds of these tests: with more, golden rewards have other last bits."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def one_thread_for_what_a_module_shares():
    torch.set_num_threads(1)  # what ran in this process before may have taken all cores


@pytest.fixture(autouse=True)
def one_thread(one_thread_for_what_a_module_shares):
    torch.set_num_threads(1)
