#!/usr/bin/python3
"""What the client asks of Docker, for what no real engine does on demand: to be away, full, hostile. State is in the folder DOCKER_STANDIN.

Files there: `says` (what `compose up` fails with), `down` (no daemon), `mode` (endless, hang, fork, junk, huge: how it answers questions),
`stranger` (a service that runs besides), `meddles` (what somebody makes of the Compose file meanwhile); `given.yml` is what the last `compose up` read, `log` every call.
"""
import json
import os
import pathlib
import sys
import time

HERE = pathlib.Path(os.environ["DOCKER_STANDIN"])
WORDS = sys.argv[1:]


def read(name):
    path = HERE / name
    return path.read_text() if path.exists() else ""


def fail(text):
    sys.exit(text)


def misbehave(mode):
    if mode == "endless":
        while True:
            sys.stdout.write("x" * 65536)
    if mode == "hang":
        time.sleep(3600)
    if mode == "fork":
        os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "3600")
        time.sleep(3600)
    print({"junk": "{[", "huge": "[" * 100_000}[mode])
    sys.exit(0)


def compose():
    app, given = WORDS[WORDS.index("-p") + 1], pathlib.Path(WORDS[WORDS.index("-f") + 1]).read_text()
    if read("says"):
        fail(read("says"))
    if "up" not in WORDS:
        return
    import yaml  # takes a while, and only this needs it

    (HERE / "given.yml").write_text(given)
    if read("meddles"):
        pathlib.Path(WORDS[WORDS.index("-f") + 1]).write_text(read("meddles"))
    services = {name: s["image"] for name, s in yaml.safe_load(given)["services"].items() if not s.get("profiles")}
    if read("stranger"):
        services[read("stranger")] = "sha256:" + "e" * 64
    for name, image in services.items():
        state = {"app": app, "image": image, "service": name, "status": "running" if "-d" in WORDS else "created"}
        (HERE / f"c-{app}-{name}").write_text(json.dumps(state))


def inspect(name):
    c = json.loads(read(name))
    labels = {"com.docker.compose.project": c["app"], "com.docker.compose.service": c["service"]}
    return {"Id": name, "Image": c["image"], "RestartCount": 0, "State": {"Status": c["status"], "ExitCode": 0}, "Config": {"Labels": labels}}


def load():
    import tarfile

    for member in (archive := tarfile.open(fileobj=sys.stdin.buffer, mode="r|")):
        if member.name == "manifest.json":
            config = json.load(archive.extractfile(member))[0]["Config"]
            (HERE / ("img-" + config.split("/")[-1])).write_text("")


def main():
    with open(HERE / "log", "a") as log:
        print(*WORDS, file=log)
    if (HERE / "down").exists():
        fail("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")
    mode = read("mode").split()
    if mode and " ".join(WORDS).startswith(" ".join(mode[1:])):
        misbehave(mode[0])
    match WORDS:
        case ["info", *_]:
            print("ID")
        case ["image", "inspect", *_, name]:
            if not (HERE / ("img-" + name.removeprefix("sha256:"))).exists():
                fail("Error: No such image")
            print(name)
        case ["load"]:
            load()
        case ["compose", *_]:
            compose()
        case ["ps", *_, name]:
            print(*(c.name for c in HERE.glob(f"c-{name.split('=')[-1]}-*")), sep="\n")
        case ["container", "inspect", *names]:
            print(json.dumps([inspect(name) for name in names]))
        case ["stop" | "rm" as word, *names]:
            for name in names:
                path = HERE / name
                if path.exists() and word == "rm":
                    path.unlink()
                elif path.exists():
                    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "exited"}))


main()
