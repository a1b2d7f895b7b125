"""What a device with Compose apps goes through, whichever its engine: the tests of test_apps_docker.py and test_apps_podman.py."""

SYNC_APPS, REBOOT_NEEDED, ROLLED_BACK = 17, 100, 110


class Story:
    """The tests share the device, in this order."""

    def test_a_first_installation_of_two_apps(self, shop):
        shop.web, shop.db = shop.app("web", shop.one), shop.app("db", shop.one, more="x-app: db\n")
        shop.target(2, {"web": shop.web, "db": shop.db})
        code, out = shop.client("update")
        assert code == 0, out
        assert shop.versions() == {"web": "one", "db": "one"}
        assert {app["name"]: app["state"] for app in shop.status()["apps"]} == {"web": "healthy", "db": "healthy"}

    def test_b_one_app_is_updated_without_a_reboot(self, shop):
        starts = shop.device.starts
        shop.target(3, {"web": shop.app("web", shop.two), "db": shop.db})
        code, out = shop.client("update")
        assert code == 0, out
        assert shop.versions() == {"web": "two", "db": "one"}
        assert shop.device.starts == starts

    def test_c_an_app_that_exits_brings_the_earlier_one_back(self, shop):
        shop.target(4, {"web": shop.app("web", shop.one, command="sleep 1; exit 3", restart="'no'"), "db": shop.db})
        code, out = shop.client("check")
        assert code == SYNC_APPS, out
        code, out = shop.client("download")
        assert code == 0, out
        shop.registry.cut()
        code, out = shop.client("install")
        assert code == ROLLED_BACK, out
        assert "ended with exit code 3" in out
        assert shop.versions() == {"web": "two", "db": "one"}
        code, out = shop.client("list")
        assert code == 0 and "known to be bad" in out, out
        shop.registry.reach(shop.device)

    def test_d_the_system_and_its_apps_together(self, shop):
        shop.target(5, {"web": shop.web, "db": shop.db}, shop.releases.good("B"))
        code, out = shop.client("update")
        assert code == REBOOT_NEEDED, out
        shop.registry.cut()
        shop.device.reboot()
        shop.device.wait_up("B", timeout=900)
        shop.device.wait_for(lambda: shop.client("status")[1].count("device-5") and shop.status()["pending"] is None, "confirmation", 900, 5)
        assert shop.versions() == {"web": "one", "db": "one"}
