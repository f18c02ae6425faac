"""Hostile images over HTTP and in an ingest: each is an error of that one image, and memory comes
back.

The decoder obeys the file (`tests/embedder/decoding/planted.py`); everything else is what runs in
production.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from api.http.app import create_app
from api.settings import Settings
from api.worker.current import CurrentLineup
from embedder.decoding.processes import ProcessDecoders
from tests.clients import NO_BROWSER
from tests.embedder.decoding.planted import plant
