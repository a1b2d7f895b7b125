"""Compose apps on a real device with Docker: Debian's own engine in the guest, Debian's registry on the host."""

import random

import pytest

from apps_story import ROLLED_BACK, SYNC_APPS, Story
from bed.shop import Shop

NOT_FETCHED, NO_ROOM, REFUSED, NOT_INSTALLABLE = 50, 60, 70, 80
UNHEALTHY = """\
    healthcheck:
      test: ["CMD", "false"]
      interval: 1s
      retries: 2
"""


@pytest.fixture(scope="module")
def shop(engines_image, bench):
    return Shop(bench, engines_image, "docker")


class TestDocker(Story):
    """The life of the device goes on where Story leaves it: both apps at `one`; the system does not change any more."""

    def test_e_what_cannot_be_fetched_stops_nothing(self, shop):
        registry, system = shop.registry, shop.system()
        registry.reach(shop.device)
        before = shop.containers()
        shop.big = registry.image("f/web:3", "three", 6 << 20)
        shop.target(6, {"web": shop.app("web", shop.big), "db": shop.db}, system)
        code, out = shop.client("check")
        assert code == SYNC_APPS, out
        with registry.lacks(registry.layer(shop.big)):
            code, out = shop.client("download")
        assert code == NOT_FETCHED and "(404)" in out, out
        code, out = shop.client("install")
        assert code == NOT_INSTALLABLE, out

        shop.settings("80-room", "[pacman]\nstorage_watermark = 20\n")
        code, out = shop.client("download")
        assert code == NO_ROOM and "storage_watermark is 20" in out, out
        shop.settings("80-room", None)
        with shop.full_disk():
            code, out = shop.client("download")
        assert code == NO_ROOM, out

        broken = "services:\n  web:\n    image: 127.0.0.1:1/f/web:latest\n"
        shop.target(7, {"web": registry.unchecked_app("web", broken), "db": shop.db}, system)
        code, out = shop.client("update")
        assert code == REFUSED and "is not pinned" in out, out
        assert shop.containers() == before

    def test_f_a_download_that_is_killed_goes_on(self, shop):
        shop.target(8, {"web": shop.app("web", shop.big), "db": shop.db}, shop.system())
        code, out = shop.client("check")
        assert code == SYNC_APPS, out
        layer, there = shop.registry.layer(shop.big), 0
        for moment in [0] + [round(random.uniform(0, 2), 2) for _ in range(3)]:
            now = shop.cut_download(layer, moment)
            print(f"killed after {moment} s: {now} bytes of the layer are there")
            assert now >= there, "what had come was kept"
            there = now
        assert there > 0
        code, out = shop.client("download")
        assert code == 0, out

        # The disk is full when the engine is to take the image: nothing was stopped for that.
        before = shop.containers()
        with shop.full_disk():
            code, out = shop.client("install")
        assert code == NOT_INSTALLABLE and "no space left" in out, out
        assert shop.containers() == before
        code, out = shop.client("install")
        assert code == 0, out
        assert shop.versions() == {"web": "three", "db": "one"}

    def test_g_an_unhealthy_app_brings_the_earlier_one_back(self, shop):
        shop.target(9, {"web": shop.app("web", shop.one, more=UNHEALTHY), "db": shop.db}, shop.system())
        code, out = shop.client("update")
        assert code == ROLLED_BACK and "unhealthy" in out, out
        assert shop.versions() == {"web": "three", "db": "one"}

    def test_h_an_app_that_leaves_the_list_is_removed(self, shop):
        shop.target(10, {"web": shop.app("web", shop.big), "db": shop.db}, shop.system())
        shop.settings("80-list", "[pacman]\ncompose_apps = db\n")
        code, out = shop.client("update")
        assert code == 0, out
        assert shop.versions() == {"db": "one"}
        assert shop.device.ssh("docker ps --all --quiet | wc -l; ls /var/sota/compose-apps").split() == ["1", "db"]
