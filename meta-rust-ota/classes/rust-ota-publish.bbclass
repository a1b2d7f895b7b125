# SPDX-License-Identifier: MIT
# Publishes an image's OSTree commit as a Target at the end of its build, to a folder that any static web server serves. In local.conf:
#
#   IMAGE_CLASSES += "rust-ota-publish"
#   RUST_OTA_REPOSITORY = "/srv/ota"
#
# The repository and its keys are made once, outside the build, by `ota-repo init /srv/ota` (bitbake ota-repo-native -c addto_recipe_sysroot,
# then oe-run-native ota-repo-native ota-repo init /srv/ota).

# Folder of the repository. Empty: nothing is published.
RUST_OTA_REPOSITORY ?= ""
# Folder with the keys of targets, snapshot and timestamp. Its place is not part of what is built. Empty: beside the repository.
RUST_OTA_KEYS ?= ""
# What devices are offered. A version is a whole number; empty takes the one after the highest that is published.
RUST_OTA_TARGET_NAME ?= "${GARAGE_TARGET_NAME}"
RUST_OTA_TARGET_VERSION ?= "${GARAGE_TARGET_VERSION}"
RUST_OTA_TARGET_TAGS ?= "main"
RUST_OTA_TARGET_HARDWARE_IDS ?= "${SOTA_HARDWARE_ID}"
# "1": also a static delta from the version before, which saves requests and bytes and costs time here and space there.
RUST_OTA_STATIC_DELTA ?= "0"

def rust_ota_content(repo, commit):
    """The checksum of a commit's files, without its time, parent and words. None where the commit is not."""
    try:
        shown, _ = bb.process.run(['ostree', '--repo=' + repo, 'show', commit])
    except bb.process.ExecutionError:
        return None
    return next(line.split()[1] for line in shown.splitlines() if line.startswith('ContentChecksum:'))

python do_rust_ota_publish () {
    import json

    repository = d.getVar('RUST_OTA_REPOSITORY')
    if not repository:
        bb.note('RUST_OTA_REPOSITORY is empty: nothing is published')
        return
    if not os.path.isdir(os.path.join(repository, 'repo')):
        bb.fatal('RUST_OTA_REPOSITORY = "%s" has no repository yet: ota-repo init %s' % (repository, repository))
    keys = [word for folder in d.getVar('RUST_OTA_KEYS').split() for word in ('--keys', folder)]

    with open(d.expand('${WORKDIR}/ostree_manifest')) as manifest:
        commit = manifest.read().strip()
    name = d.getVar('RUST_OTA_TARGET_NAME')
    published, _ = bb.process.run(['ota-repo', 'target', 'list', repository, '--json'])
    versions = {int(t['version']): t['commit'] for t in json.loads(published) if t['name'] == name}
    newest = max(versions, default=0)
    # The same image from another build folder is another commit with the same content: a commit names its time and its parent. A
    # version that was asked for is published all the same.
    wanted = d.getVar('RUST_OTA_TARGET_VERSION')
    treehub = os.path.join(repository, 'treehub')
    if versions and (versions[newest] == commit or
                     not wanted and rust_ota_content(d.getVar('OSTREE_REPO'), commit) == rust_ota_content(treehub, versions[newest])):
        bb.note('%s-%d is this content already: nothing to publish' % (name, newest))
        return

    version = wanted or str(newest + 1)
    command = ['ota-repo', 'target', 'add', repository, '--ostree-repo', d.getVar('OSTREE_REPO'), '--commit', commit,
               '--name', name, '--version', version]
    for hardware_id in d.getVar('RUST_OTA_TARGET_HARDWARE_IDS').split():
        command += ['--hardware-id', hardware_id]
    for tag in d.getVar('RUST_OTA_TARGET_TAGS').split():
        command += ['--tag', tag]
    output, _ = bb.process.run(command + keys)
    bb.plain('%s: published %s-%s, commit %s\n%s' % (repository, name, version, commit, output))

    if oe.types.boolean(d.getVar('RUST_OTA_STATIC_DELTA')) and versions:
        bb.process.run(['ota-repo', 'delta', repository, '--from', '%s-%d' % (name, newest),
                        '--to', '%s-%s' % (name, version)] + keys)
}
addtask rust_ota_publish after do_image_complete before do_build
do_rust_ota_publish[depends] += "ota-repo-native:do_populate_sysroot ostree-native:do_populate_sysroot"
# Two images of one build may go to one repository.
do_rust_ota_publish[lockfiles] += "${TMPDIR}/rust-ota-publish.lock"
do_rust_ota_publish[vardepsexclude] += "RUST_OTA_KEYS"
