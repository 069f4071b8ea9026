"""Five hosts, a sixth as their client, an inventory of them, and Ansible to run on it."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import hosts as machines  # noqa: E402

ANSIBLE = Path(__file__).resolve().parent.parent
NAME = "proving-ground"


class Run:
    """What a run of Ansible has printed, and its counts by host."""

    def __init__(self, code, output):
        self.code = code
        self.output = output
        self.counts = {
            name: dict((key, int(value)) for key, value in re.findall(r"(\w+)=(\d+)", rest))
            for name, rest in re.findall(r"^(\S+)\s+: (ok=.*)$", output, re.MULTILINE)
        }

    def changed(self):
        return {name: counts["changed"] for name, counts in self.counts.items() if counts["changed"] > 0}

    def changed_tasks(self):
        """The names of the tasks that changed something, for the message of a test that fails."""
        task, found = "", []
        for line in self.output.splitlines():
            if line.startswith("TASK ["):
                task = line
            elif line.startswith("changed:"):
                found.append(f"{task} {line}")
        return "\n".join(found)


class Cluster:
    """The hosts, and the inventory that describes them."""

    def __init__(self, folder):
        self.folder = folder / f"run-{os.getpid()}"
        self.packages = json.loads(os.environ["CAIRN_TEST_PACKAGES"])
        self.base = machines.base_tree(folder)
        self.network = machines.Network(self.folder)
        self.hosts = {}
        self.logs = 0
        # Which hosts have which part: tests take some in and out.
        self.metadata = ["host1", "host2", "host3"]
        self.chunkservers = ["host1", "host2", "host3", "host4"]
        self.gateways = ["host1", "host2"]
        self.disk = "/dev/vdb"
        self.package = self.packages["previous"]
        self.secrets = self.folder / "secrets"

    def start(self):
        self.folder.mkdir(parents=True)
        self.network.start()
        for number in range(1, 7):
            self.add_host(number)

    def add_host(self, number):
        host = machines.Host(self.network, self.base, number, disks=2 if number < 6 else 0)
        self.hosts[host.name] = host
        host.start()
        return host

    def stop(self):
        for host in self.hosts.values():
            host.destroy()
        self.network.stop()

    def host(self, number):
        return self.hosts[f"host{number}"]

    @property
    def client(self):
        return self.hosts["host6"]

    def inventory(self, **changes):
        """Writes the inventory, with changed variables of the cluster, and tells where it is."""
        named = sorted(set(self.metadata + self.chunkservers + self.gateways + ["host6"]))
        ssh = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5"
        variables = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.network.key),
            "ansible_ssh_common_args": ssh,
            "ansible_python_interpreter": "/usr/bin/python3",
            "cairn_name": NAME,
            "cairn_package": self.package,
            "cairn_secrets_dir": str(self.secrets),
            "cairn_backup_dir": str(self.folder / "backups"),
            "cairn_redundancy": "2+1",
            "cairn_wait_at_most": "5m",
            "cairn_buckets": [{"name": "photos"}],
            "cairn_keys": [
                {"name": "app", "allow": ["photos=read,write"]},
                {"name": "load", "create_buckets": True},
            ],
            "cairn_devices": [{"name": "disk1", "block_device": "/dev/vdb"}],
            "cairn_metadata_environment": {"CAIRN_METADATA_MEMORY_MIB": "64"},
            "cairn_chunkserver_environment": {"CAIRN_SEGMENT_MIB": "16"},
            **changes,
        }
        each = {name: {"ansible_host": self.hosts[name].address} for name in named}
        each["host2"]["cairn_devices"] = [{"name": "disk1", "block_device": self.disk}]
        each["host6"]["cairn_mounts"] = [{"source": "photos", "path": "/mnt/photos", "admin_port": 9031}]

        def group(names):
            return {"hosts": {name: {} for name in names}}

        inventory = {
            "all": {"hosts": each},
            "cairn": {
                "children": dict.fromkeys(
                    ["cairn_metadata", "cairn_chunkservers", "cairn_gateways", "cairn_clients", "cairn_monitoring"], {}
                ),
                "vars": variables,
            },
            "cairn_metadata": group(self.metadata),
            "cairn_chunkservers": group(self.chunkservers),
            "cairn_gateways": group(self.gateways),
            "cairn_clients": group(["host6"]),
            "cairn_monitoring": group(["host6"]),
        }
        path = self.folder / "inventory.json"
        path.write_text(json.dumps(inventory, indent=1))
        return path

    def start_playbook(self, name, *arguments, **changes):
        self.logs += 1
        log = self.folder / f"{self.logs:02}-{name}.log"
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
        }
        command = [
            Path(sys.executable).parent / "ansible-playbook", "-i", self.inventory(**changes),
            ANSIBLE / "playbooks" / f"{name}.yml", *arguments,
        ]
        with open(log, "wb") as file:
            process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment,
                start_new_session=True, preexec_fn=machines.end_with_parent,
            )
        return process, log

    def playbook(self, name, *arguments, succeeds=True, **changes):
        """Runs a playbook to its end."""
        begun = time.monotonic()
        process, log = self.start_playbook(name, *arguments, **changes)
        code = process.wait(1800)
        output = log.read_text(errors="replace")
        print(f"{name} {' '.join(arguments)}: {time.monotonic() - begun:.0f} s, ended with {code}")
        assert (code == 0) == succeeds, f"{name} ended with {code}:\n{output[-8000:]}"
        return Run(code, output)

    def cairn(self, host, *words, directory="metadata"):
        """A command of an operator on a metadata server's host."""
        command = " ".join(["runuser --user=cairn -- cairn", *words, f"--data /var/lib/cairn/{directory}"])
        return self.host(host).ssh(command).stdout

    def status(self, host=2):
        return json.loads(self.cairn(host, "cluster status --json"))

    def key(self, name):
        return json.loads((self.secrets / "keys" / f"{name}.json").read_text())

    def s3(self, script, *arguments, key="app"):
        """Runs a script with boto3 where the client's network is."""
        secret = self.key(key)
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": secret["access_key"],
            "AWS_SECRET_ACCESS_KEY": secret["secret_key"],
            "ENDPOINTS": ",".join(f"http://{self.hosts[name].address}:9000" for name in self.gateways),
        }
        return machines.run(
            "ip", "netns", "exec", self.client.namespace, sys.executable, Path(__file__).parent / script, *arguments,
            env=environment,
        )


@pytest.fixture(scope="session")
def cluster():
    folder = Path(os.environ["CAIRN_TEST_FOLDER"])
    machines.remove_leftovers(folder)
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
