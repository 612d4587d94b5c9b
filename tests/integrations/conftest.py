"""What the suites of other libraries need of pytest, without the plugins that come with them."""


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: a mark in Zarr's suite, on none of the tests that are run here")
