"""What a device with Compose apps goes through, whichever its engine: the tests of test_apps_docker.py and test_apps_podman.py."""

SYNC_APPS, NOT_FETCHED, REFUSED, NOT_INSTALLABLE = 17, 50, 70, 80
REBOOT_NEEDED, ROLLED_BACK, APPS_ROLLED_BACK = 100, 110, 120
UNHEALTHY = """\
    healthcheck:
      test: ["CMD", "false"]
      interval: 1s
      retries: 2
"""


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

    def test_d_what_cannot_be_had_or_may_not_run_stops_nothing(self, shop):
        before = shop.containers()
        three = shop.registry.image("f/web:3", "three")
        shop.target(5, {"web": shop.app("web", three), "db": shop.db})
        code, out = shop.client("check")
        assert code == SYNC_APPS, out
        with shop.registry.lacks(shop.registry.layer(three)):
            code, out = shop.client("download")
        assert code == NOT_FETCHED and "(404)" in out, out
        code, out = shop.client("install")
        assert code == NOT_INSTALLABLE, out

        broken = "services:\n  web:\n    image: 127.0.0.1:1/f/web:latest\n"
        shop.target(6, {"web": shop.registry.unchecked_app("web", broken), "db": shop.db})
        code, out = shop.client("update")
        assert code == REFUSED and "is not pinned" in out, out
        assert shop.containers() == before

    def test_e_an_unhealthy_app_brings_the_earlier_one_back(self, shop):
        shop.target(7, {"web": shop.app("web", shop.one, more=UNHEALTHY), "db": shop.db})
        code, out = shop.client("update")
        assert code == ROLLED_BACK and "unhealthy" in out, out
        assert shop.versions() == {"web": "two", "db": "one"}

    def test_f_the_system_and_its_apps_together(self, shop):
        shop.target(8, {"web": shop.web, "db": shop.db}, shop.releases.good("B"))
        code, out = shop.client("update")
        assert code == REBOOT_NEEDED, out
        shop.registry.cut()
        shop.reboot_into("B", 8)
        assert shop.versions() == {"web": "one", "db": "one"}

    def test_g_an_app_that_fails_in_the_new_system_brings_the_earlier_system_back(self, shop):
        shop.registry.reach(shop.device)
        broken = shop.app("web", shop.two, command="sleep 1; exit 3", restart="'no'")
        shop.target(9, {"web": broken, "db": shop.db}, shop.releases.good("C"))
        code, out = shop.client("update")
        assert code == REBOOT_NEEDED, out
        shop.registry.cut()
        # The system is good, its apps are not: the earlier Target is deployed again, and waits for a reboot.
        shop.reboot_into("C", awaiting=8)
        assert shop.device.ssh("systemctl show --property ExecMainStatus --value rust-ota-finalize.service").strip() == str(APPS_ROLLED_BACK)
        shop.reboot_into("B", 8)
        assert shop.versions() == {"web": "one", "db": "one"}
        code, out = shop.client("list")
        assert code == 0 and "known to be bad" in out, out
