"""Compose apps on a real device with Docker: Debian's own engine in the guest, Debian's registry on the host."""

import pytest

from apps_story import SYNC_APPS, Story
from bed.shop import Shop

NOT_FETCHED, NO_ROOM, REFUSED, NOT_INSTALLABLE = 50, 60, 70, 80


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
