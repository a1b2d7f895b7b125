"""Compose apps on a real device with Docker: Debian's own engine in the guest, Debian's registry on the host."""

import random

import pytest

from apps_story import NOT_INSTALLABLE, SYNC_APPS, Story
from bed.shop import Shop

NO_ROOM = 60


@pytest.fixture(scope="module")
def shop(engines_image, bench):
    return Shop(bench, engines_image, "docker")


class TestDocker(Story):
    """The life of the device goes on where Story leaves it: both apps at `one`; the system does not change any more."""

    def test_h_no_room_stops_nothing(self, shop):
        registry, before = shop.registry, shop.containers()
        registry.reach(shop.device)
        shop.big = registry.image("f/web:4", "four", 6 << 20)
        shop.target(10, {"web": shop.app("web", shop.big), "db": shop.db}, shop.system())
        code, out = shop.client("check")
        assert code == SYNC_APPS, out
        shop.settings("80-room", "[pacman]\nstorage_watermark = 20\n")
        code, out = shop.client("download")
        assert code == NO_ROOM and "storage_watermark is 20" in out, out
        shop.settings("80-room", None)
        with shop.full_disk():
            code, out = shop.client("download")
        assert code == NO_ROOM, out
        assert shop.containers() == before

    def test_i_a_download_that_is_cut_goes_on(self, shop):
        layer, there = shop.registry.layer(shop.big), 0
        for moment in [0] + [round(random.uniform(0, 2), 2) for _ in range(3)]:
            now = shop.kill_download(layer, moment)
            print(f"killed after {moment} s: {now} bytes of the layer are there")
            assert now >= there, "what had come was kept"
            there = now
        assert there > 0
        # And the whole device.
        shop.cut_download(layer)
        shop.registry.reach(shop.device)
        code, out = shop.client("download")
        assert code == 0, out
        shop.device.wait_for(lambda: shop.versions() == {"web": "one", "db": "one"}, "apps that the engine starts again by itself", 300, 5)

        # The disk is full when the engine is to take the image: nothing was stopped for that.
        before = shop.containers()
        with shop.full_disk():
            code, out = shop.client("install")
        assert code == NOT_INSTALLABLE and "no space left" in out, out
        assert shop.containers() == before
        code, out = shop.client("install")
        assert code == 0, out
        assert shop.versions() == {"web": "four", "db": "one"}

    def test_j_an_app_that_leaves_the_list_is_removed(self, shop):
        shop.target(11, {"web": shop.app("web", shop.big), "db": shop.db}, shop.system())
        shop.settings("80-list", "[pacman]\ncompose_apps = db\n")
        code, out = shop.client("update")
        assert code == 0, out
        assert shop.versions() == {"db": "one"}
        assert shop.device.ssh("docker ps --all --quiet | wc -l; ls /var/sota/compose-apps").split() == ["1", "db", "engine.files"]
