"""Hosts for the tests: Debian trees with systemd, sshd and Python, booted by systemd-nspawn in network namespaces on one bridge.

Invariant: what a run makes has the run's number in its name, and goes with it; what a killed run has left, the next one removes.
"""

import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,iproute2,procps,fuse3,ca-certificates,sudo"
)
SUITE = "bookworm"
MIRROR = os.environ.get("CAIRN_TEST_MIRROR", "http://deb.debian.org/debian")


def run(*command, **options):
    """Runs a command to its end; what it printed is in the error where it fails."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, **options
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def until(what, seconds, holds):
    """Waits for a condition, with a bound."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.25)


def base_tree(folder):
    """The tree that all hosts lie over, made once."""
    name = hashlib.sha256(f"{SUITE} {PACKAGES}".encode()).hexdigest()[:12]
    tree = folder / f"base-{name}"
    if not tree.exists():
        new = folder / f"base-{name}.new-{os.getpid()}"
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, new, MIRROR)
        # Each start would wait for what a container does not have.
        for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_reap.service"):
            (new / "etc/systemd/system" / unit).symlink_to("/dev/null")
        shutil.rmtree(new / "var/cache/apt/archives", ignore_errors=True)
        (new / "var/cache/apt/archives/partial").mkdir(parents=True)
        new.rename(tree)
    return tree


def _cgroups_of(namespace):
    """Control groups of a host's own: with common ones, the systemd of one host removes the groups of another's units."""
    mounted = [Path("/sys/fs/cgroup") / name for name in ("systemd", "unified")]
    hierarchies = [path for path in mounted if path.exists()] or [Path("/sys/fs/cgroup")]
    return [hierarchy / namespace for hierarchy in hierarchies]


def end_with_parent():
    """For a process that is to be asked to end when the test's process has ended, however that came."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _kill_all_in(namespace):
    """Kills what runs in a network namespace of a host: the first of its processes takes the others along."""
    listed = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    for pid in listed.stdout.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass


def _remove_cgroup(namespace):
    folders = [folder for group in _cgroups_of(namespace) for folder, _, _ in os.walk(group, topdown=False)]
    for folder in folders:
        # One that is still in use is tried again.
        try:
            os.rmdir(folder)
        except OSError:
            pass
    return not any(group.exists() for group in _cgroups_of(namespace))


class Network:
    """One bridge of the run, with an address for this machine."""

    def __init__(self, folder):
        self.folder = folder
        self.number = os.getpid()
        self.bridge = f"cb{self.number}"
        self.prefix = f"198.19.{self.number % 250 + 1}"
        self.key = folder / "key"

    def start(self):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "address", "add", f"{self.prefix}.1/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")

    def stop(self):
        run("ip", "link", "delete", self.bridge)


class Host:
    """One host. Its disks are files on this machine that it sees as block devices."""

    def __init__(self, network, base, number, disks=0):
        self.network = network
        self.base = base
        self.name = f"host{number}"
        self.number = number
        self.address = f"{network.prefix}.{10 + number}"
        self.namespace = f"cairn-test-{network.number}-{number}"
        self.folder = network.folder / self.name
        self.root = self.folder / "root"
        self.disk_count = disks
        self.loops = []
        self.process = None

    def start(self):
        """Sets the host up where it is not, boots it, and waits until ssh answers."""
        if not self.folder.exists():
            self._set_up()
        command = [
            "systemd-nspawn", "--quiet", f"--directory={self.root}", "--boot", "--register=no", "--keep-unit",
            f"--machine={self.name}", f"--network-namespace-path=/run/netns/{self.namespace}", "--bind=/dev/fuse",
            "--capability=all", "--console=pipe",
        ]
        command += [f"--bind={loop}:/dev/vd{chr(ord('b') + at)}" for at, loop in enumerate(self.loops)]
        groups = _cgroups_of(self.namespace)
        for group in groups:
            group.mkdir(exist_ok=True)

        def enter():
            end_with_parent()
            for group in groups:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        console = open(self.folder / "console", "ab")
        # A host of a machine with the first version of control groups gets that one too.
        environment = dict(os.environ)
        if Path("/sys/fs/cgroup/systemd").exists():
            environment["SYSTEMD_NSPAWN_UNIFIED_HIERARCHY"] = "0"
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=environment, preexec_fn=enter
        )
        console.close()
        until(f"{self.name} answers", 60, self._answers)

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {(self.folder / 'console').read_text(errors='replace')}")
        return self.ssh("true", check=False).returncode == 0

    def _set_up(self):
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True)
        options = f"lowerdir={self.base},upperdir={self.folder}/upper,workdir={self.folder}/work"
        run("mount", "-t", "overlay", "overlay", "-o", options, self.root)
        (self.root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        shutil.copy(f"{self.network.key}.pub", self.root / "root/.ssh/authorized_keys")
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        for at in range(self.disk_count):
            image = self.folder / f"disk{at}"
            with open(image, "wb") as file:
                file.truncate(2 << 30)
            self.loops.append(run("losetup", "--find", "--show", image).strip())
        outer = f"cv{self.network.number}-{self.number}"[:15]
        run("ip", "netns", "add", self.namespace)
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        run("ip", "link", "set", outer, "master", self.network.bridge, "up")
        run("ip", "-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        self.connect()

    def connect(self):
        run("ip", "-n", self.namespace, "link", "set", "eth0", "up")

    def disconnect(self):
        run("ip", "-n", self.namespace, "link", "set", "eth0", "down")

    def ssh(self, command, check=True, **options):
        words = [
            "ssh", "-i", str(self.network.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=3", f"root@{self.address}", command,
        ]
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, **options)
        if check and done.returncode != 0:
            raise RuntimeError(f"{self.name}: {command}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start_command(self, command, log):
        """A command that goes on beside the test; with its standard output and error in the file `log`."""
        words = [
            "ssh", "-i", str(self.network.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", f"root@{self.address}", command,
        ]
        with open(log, "wb") as file:
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, preexec_fn=end_with_parent)

    def stop(self):
        """Powers the host off, as its power button does."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def destroy(self):
        """The host is gone, with its disks."""
        _kill_all_in(self.namespace)
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.clean_up()

    def clean_up(self):
        until(f"{self.root} is no longer used", 30, self._unmounted)
        for loop in self.loops:
            run("losetup", "--detach", loop)
        self.loops = []
        until(f"nothing runs in {self.name}", 30, lambda: _remove_cgroup(self.namespace))
        if Path(f"/run/netns/{self.namespace}").exists():
            run("ip", "netns", "delete", self.namespace)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _unmounted(self):
        if not os.path.ismount(self.root):
            return True
        return subprocess.run(["umount", self.root], capture_output=True, check=False).returncode == 0


def remove_leftovers(folder):
    """What runs have left that were killed: their folders are named after their process."""
    for left in folder.glob("run-*"):
        number = int(left.name.split("-")[1])
        if Path(f"/proc/{number}").exists():
            continue
        for namespace in Path("/run/netns").glob(f"cairn-test-{number}-*"):
            _kill_all_in(namespace.name)
            _remove_cgroup(namespace.name)
        for root in left.glob("*/root"):
            subprocess.run(["umount", "--lazy", root], capture_output=True, check=False)
        for image in left.glob("*/disk*"):
            for line in run("losetup", "--associated", image).splitlines():
                run("losetup", "--detach", line.split(":")[0])
        for namespace in Path("/run/netns").glob(f"cairn-test-{number}-*"):
            subprocess.run(["ip", "netns", "delete", namespace.name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", f"cb{number}"], capture_output=True, check=False)
        shutil.rmtree(left, ignore_errors=True)
