#!/usr/bin/env python3
"""Whether what goes into containers is understood: containers.py SEABED, in a Python that has the modules of containers.txt.

The Dockerfile is read by the parser that builds images, compose files by one that knows the specification. Exits 1 and says what is wrong.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import compose_spec
import dockerfile

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
EXAMPLES = TOP / "examples/docker"

CONFIG = """
[repo.local]
url = "dir:{place}/repo $1"
[source.app]
kind = "files"
paths = ["{place}/app"]
[job.nightly]
sources = ["app"]
schedule = "02:00"
"""


def look_at_dockerfile(path):
    commands = dockerfile.parse_file(str(path))
    words = [command.cmd.upper() for command in commands]
    assert words[0] == "FROM" and words.count("FROM") == 2, words
    last = words[len(words) - 1 - words[::-1].index("FROM") :]
    assert {"USER", "HEALTHCHECK", "ENTRYPOINT", "CMD", "ARG", "COPY"} <= set(last), last
    user = [command.value for command in commands if command.cmd.upper() == "USER"]
    assert user == [("seabed",)], user
    assert any("+crt-static" in " ".join(command.value) for command in commands), "the program is not static"


def look_at_compose(path, at_least):
    compose = compose_spec.PyCompose.from_yaml(path.read_text())
    compose.validate()
    spec = json.loads(compose.to_json())
    service = spec["services"]["seabed"]
    assert service["command"][0] == "daemon" and service["healthcheck"]["test"][:4] == ["CMD", "seabed", "status", "--quiet"], service
    assert service["read_only"] and service["init"] and service["cap_drop"] == ["ALL"], service
    for name in at_least:
        assert name in json.dumps(service), f"{path} does not speak of {name}"
    return service


def main(seabed):
    look_at_dockerfile(EXAMPLES / "Dockerfile")
    look_at_compose(EXAMPLES / "compose.yaml", ["seabed-state", "no-new-privileges"])
    with tempfile.TemporaryDirectory() as place:
        config = pathlib.Path(place, "seabed.toml")
        config.write_text(CONFIG.format(place=place))
        env = {"HOME": place, "PATH": "/usr/bin:/bin"}
        # The example's configuration is one, too.
        for args in (["--config", str(EXAMPLES / "seabed.toml"), "schedule", "list"], ["--config", str(config), "schedule", "install", "--compose", "--dir", place]):
            subprocess.run([seabed, *args], check=True, env=env, stdout=subprocess.DEVNULL)
        service = look_at_compose(pathlib.Path(place, "compose.seabed.yaml"), [f"{place}/app"])
        mounts = {mount["source"]: mount for mount in service["volumes"] if isinstance(mount, dict)}
        assert mounts[f"{place}/app"]["read_only"], mounts
        # As Compose reads it: `$$` is one.
        assert not mounts[f"{place}/repo $$1"].get("read_only"), mounts
    print("containers: all of it is understood")


if __name__ == "__main__":
    main(sys.argv[1])
