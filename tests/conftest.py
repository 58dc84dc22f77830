"What every test needs: no model hub, and a cache of its own."
import os

import pytest

os.environ.setdefault('HF_HUB_OFFLINE', '1')  # before anything imports huggingface_hub, which reads it once


@pytest.fixture
def tmp_cache(tmp_path, monkeypatch):
    "An empty cache folder, used by everything that asks `realness.config.cache_dir`."
    path = tmp_path/'cache'
    path.mkdir()
    monkeypatch.setenv('REALNESS_CACHE', str(path))
    return path
