"""Compose apps on a real device with Podman: Debian's own engine in the guest, Debian's registry on the host."""

import pytest

from apps_story import Story
from bed.shop import Shop


@pytest.fixture(scope="module")
def shop(engines_image, bench):
    return Shop(bench, engines_image, "podman")


@pytest.mark.long
class TestPodman(Story):
    pass
