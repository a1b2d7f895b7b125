"""The QEMU test bed: images of a device, the device itself, and the servers it talks to."""
