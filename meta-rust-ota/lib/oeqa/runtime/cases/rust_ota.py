# SPDX-License-Identifier: MIT
"""For class testimage: TEST_SUITES:append = " rust_ota". The client starts, and its units are as the image wants them."""

from oeqa.core.decorator.depends import OETestDepends
from oeqa.runtime.case import OERuntimeTestCase
from oeqa.runtime.decorator.package import OEHasPackage


class RustOtaTest(OERuntimeTestCase):
    def succeeds(self, command):
        status, output = self.target.run(command)
        self.assertEqual(status, 0, msg="%s: %s" % (command, output))
        return output

    @OETestDepends(["ssh.SSHTest.test_ssh"])
    @OEHasPackage(["rust-ota"])
    def test_program_starts(self):
        self.assertIn("rust-ota", self.succeeds("rust-ota --version"))

    @OETestDepends(["rust_ota.RustOtaTest.test_program_starts"])
    def test_boot_is_confirmed_whatever_the_daemon_is(self):
        for unit in ("rust-ota-finalize.service", "rust-ota-report.service", "rust-ota-deadline.timer"):
            self.assertEqual(self.succeeds("systemctl is-enabled " + unit), "enabled")

    @OETestDepends(["rust_ota.RustOtaTest.test_program_starts"])
    def test_daemon_is_as_the_image_says(self):
        wanted = self.td.get("SYSTEMD_AUTO_ENABLE:rust-ota") or "enable"
        status, output = self.target.run("systemctl is-enabled rust-ota.service")
        self.assertEqual(output, wanted + "d", msg="exit status %d" % status)
