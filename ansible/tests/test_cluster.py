"""The life of a cluster, from bare hosts to none, in the order in which it happens: each test goes on where the one before ended."""

import json
import os
import re
import signal
import stat

from hosts import until

# Enough for each to be interrupted where it counts, and small enough for a machine of two cores.
OBJECTS = 24


def holds(cluster, host, path):
    return cluster.host(host).ssh(f"test -e {path}", check=False).returncode == 0


def check_all(cluster, *seeds):
    for seed in seeds:
        cluster.s3("s3_objects.py", "check", seed, str(OBJECTS))


def devices(status, host):
    return [device for server in status["servers"] if server["host"] == host for device in server["devices"]]


def version(cluster, number):
    return cluster.host(number).ssh("dpkg-query --show --showformat='${Version}' cairn").stdout


def earlier_programs(cluster, number):
    """Servers of a host whose process runs another program than the one that is installed."""
    look = (
        "for unit in cairn-metadata cairn-chunkserver cairn-gateway; do pid=$(systemctl show --property MainPID --value $unit); "
        "[ $pid = 0 ] || [ /proc/$pid/exe -ef /usr/bin/cairn ] || echo $unit; done"
    )
    return cluster.host(number).ssh(look).stdout.split()


def verify(cluster, number):
    """Holds every device against the metadata. What a write that met a dead device has left is garbage, which an inventory removes."""
    told = cluster.host(number).ssh("runuser --user=cairn -- cairn cluster verify --data /var/lib/cairn/metadata", check=False).stdout
    counts = dict(re.findall(r"^(shards|missing|damaged|findings) +(\d+)$", told, re.MULTILINE))
    assert int(counts["shards"]) > 0, told
    assert all(counts[kind] == "0" for kind in ("missing", "damaged", "findings")), told


def is_whole(status):
    up = all(server["up"] and all(device["up"] for device in server["devices"]) for server in status["servers"])
    return up and not status["repairs"] and status["moving_groups"] == 0 and not status["unsurveyed"]


def test_check_mode_from_nothing_changes_nothing(cluster):
    done = cluster.playbook("site", "--check")
    assert done.changed(), "it tells of what would change"
    for number in range(1, 7):
        assert not holds(cluster, number, "/etc/cairn") and not holds(cluster, number, "/usr/bin/cairn")
    assert not cluster.secrets.exists()


def test_wrong_variables_are_refused_with_a_word_of_what_to_do(cluster):
    for changes, told in [
        ({"cairn_redundancy": "4-2"}, 'give copies such as "3" or data+parity such as "4+2"'),
        ({"cairn_failure_domain": "shelf"}, "value of cairn_failure_domain must be one of: device, disk, host, rack, zone"),
        ({"cairn_failure_domain": "zone"}, "has no cairn_zone"),
        ({"cairn_devices": []}, "is in cairn_chunkservers and has no cairn_devices"),
        ({"cairn_devices": [{"name": "disk1"}, {"name": "disk1"}]}, "each has to be another"),
        ({"cairn_gateway_port": 9002}, "are the same"),
        ({"cairn_address": "localhost"}, "set it to the IP address under which the other hosts reach this one"),
        ({"cairn_wait_at_most": "soon"}, "give a time such as 30m or 2h"),
        ({"cairn_package": "", "cairn_binary": ""}, "Give either cairn_package"),
        ({"cairn_package": "/nowhere.deb"}, "`make package` makes one"),
    ]:
        done = cluster.playbook("site", succeeds=False, **changes)
        said = " ".join(done.output.split())
        assert told in said, f"{changes}: {said[-3000:]}"
        assert not done.changed(), f"{changes}: {done.changed_tasks()}"


def test_a_run_without_one_of_the_hosts_and_one_cut_short_are_completed_by_the_next(cluster):
    cluster.host(3).disconnect()
    done = cluster.playbook("site", succeeds=False)
    assert done.counts["host3"]["unreachable"] == 1 and not done.changed()
    cluster.host(3).connect()
    until("host3 answers", 30, lambda: cluster.host(3).ssh("true", check=False).returncode == 0)

    # It is killed when the cluster is made and its recovery key is not on the control machine yet.
    process, log = cluster.start_playbook("site")
    until("the cluster is made", 600, lambda: b"Look for a recovery key that was not taken yet" in log.read_bytes())
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert holds(cluster, 1, "/var/lib/cairn/metadata/cluster/node.pem")

    # And a host goes in the middle of it.
    process, log = cluster.start_playbook("site")
    until("chunkservers are let in", 600, lambda: b"PLAY [Run the chunkservers]" in log.read_bytes())
    cluster.host(4).disconnect()
    assert process.wait(600) != 0
    cluster.host(4).connect()
    until("host4 answers", 30, lambda: cluster.host(4).ssh("true", check=False).returncode == 0)


def test_site_converges_and_a_second_run_changes_nothing(cluster):
    first = cluster.playbook("site", "-vvv")
    recovery = cluster.secrets / "recovery-key"
    secret_files = [recovery, cluster.secrets / "keys/app.json", cluster.secrets / "keys/load.json"]
    for file in secret_files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    logs = "".join(log.read_text(errors="replace") for log in cluster.folder.glob("*.log"))
    for secret in [recovery.read_text().strip(), cluster.key("app")["secret_key"], cluster.key("load")["secret_key"]]:
        assert secret not in logs, "a secret is in the output of a run"
    assert "cairn-join-1." not in logs, "a token is in the output of a run"
    for number in range(1, 6):
        journal = cluster.host(number).ssh("journalctl --no-pager").stdout
        for secret in [recovery.read_text().strip(), cluster.key("app")["secret_key"], "cairn-join-1."]:
            assert secret not in journal, f"a secret is in the journal of host{number}"
    assert not holds(cluster, 1, "/etc/cairn/recovery-key.new") and not holds(cluster, 1, "/etc/cairn/key.new")
    assert first.code == 0

    second = cluster.playbook("site")
    assert not second.changed(), second.changed_tasks()
    checked = cluster.playbook("site", "--check", "--diff")
    assert not checked.changed(), checked.changed_tasks()


def test_s3_and_a_mount_work_from_the_client(cluster):
    cluster.s3("s3_objects.py", "put", "first", str(OBJECTS))
    check_all(cluster, "first")
    client = cluster.client
    assert client.ssh("ls /mnt/photos/first | wc -l").stdout.strip() == str(OBJECTS)
    assert "role: mount, host: host6" in client.ssh("cat /etc/prometheus/cairn/targets.yml").stdout
    look = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9031/metrics').read().decode())"
    assert "cairn_mount_" in client.ssh(f'python3 -c "{look}"').stdout
    client.ssh("cd /mnt/photos && head -c 3000000 /dev/urandom > random && sha256sum random > sum && sync random sum")
    client.ssh("systemctl kill --signal=KILL cairn-mount@mnt-photos")
    until("the mount is back", 60, lambda: client.ssh("cd /mnt/photos && sha256sum --check sum", check=False).returncode == 0)


def test_add_node_moves_data_to_the_new_host(cluster):
    before = cluster.status()
    cluster.chunkservers.append("host5")
    # Site alone moves nothing: it says what would be moved, and how.
    said = cluster.playbook("site").output
    assert "run add-node for their hosts" in " ".join(said.split())
    assert cluster.status()["epoch"] == before["epoch"]
    cluster.playbook("add-node", "-e", "cairn_nodes=host5")
    status = cluster.status()
    assert is_whole(status) and status["domains"] == 5, status
    (new,) = devices(status, "host5")
    assert new["place"] == "in" and new["used_bytes"] > 1 << 20, new
    check_all(cluster, "first")
    again = cluster.playbook("add-node", "-e", "cairn_nodes=host5")
    assert not again.changed(), again.changed_tasks()


def test_replace_device_heals(cluster):
    # The disk is gone while the chunkserver runs.
    cluster.host(2).ssh("systemctl stop cairn-chunkserver && rm -r /srv/cairn/disk1/device && systemctl start cairn-chunkserver")
    until("the device is down", 60, lambda: not devices(cluster.status(), "host2")[0]["up"])
    cluster.s3("s3_objects.py", "put", "second", str(OBJECTS))
    cluster.disk = "/dev/vdc"
    cluster.playbook("replace-device", "-e", "cairn_node=host2", "-e", "cairn_device=disk1")
    status = cluster.status()
    (device,) = devices(status, "host2")
    assert device["incarnation"] == 2 and device["used_bytes"] > 1 << 20 and is_whole(status), status
    assert "/dev/vdc" in cluster.host(2).ssh("findmnt --noheadings --output SOURCE /srv/cairn/disk1").stdout
    verify(cluster, 1)
    check_all(cluster, "first", "second")


def test_drain_node_moves_data_away(cluster):
    cluster.playbook("drain-node", "-e", "cairn_node=host4")
    cluster.chunkservers.remove("host4")
    status = cluster.status()
    assert is_whole(status) and not devices(status, "host4") and len(status["servers"]) == 4, status
    for path in ["/var/lib/cairn", "/etc/cairn", "/srv/cairn"]:
        assert not holds(cluster, 4, path)
    check_all(cluster, "first", "second")
    assert not cluster.playbook("site").changed()


def test_rolling_upgrade_under_load(cluster):
    client = cluster.client
    token = cluster.cairn(1, "cluster token --roles client --address", f"{cluster.host(1).address}:9002").strip()
    client.ssh(f"cairn cluster join --data /var/lib/load {token}")
    before = {number: version(cluster, number) for number in (1, 2, 3, 5)}
    # By the native client, which asks again by itself. Each round verifies what it reads, and reads back what it has left.
    load = client.start_command(
        "n=0; while ! [ -e /root/end-of-load ]; do n=$((n + 1)); "
        "cairn bench --native /var/lib/load --bucket load --op mixed --size 1KiB-512KiB --objects 100 --concurrency 4 --rate 40 "
        "--duration 20 --read-back --json /root/load-$n.json || exit; done",
        cluster.folder / "load.log",
    )
    until("the load has begun", 120, lambda: client.ssh("test -e /root/load-1.json", check=False).returncode == 0)
    cluster.package = cluster.packages["this"]
    cluster.playbook("rolling-upgrade")
    client.ssh("touch /root/end-of-load")
    assert load.wait(300) == 0, (cluster.folder / "load.log").read_text()
    rounds = [json.loads(text) for text in client.ssh("for file in /root/load-*.json; do cat $file; echo ,,; done").stdout.split(",,")[:-1]]
    phases = [phase for round in rounds for phase in round["phases"]]
    assert all(round["load"]["verified"] for round in rounds) and not any(phase["errors"] for phase in phases), phases
    print(f"{sum(phase['ops'] for phase in phases)} operations in {len(rounds)} rounds, none failed")
    assert len(rounds) > 2
    after = {number: version(cluster, number) for number in (1, 2, 3, 5)}
    assert all(before[number] != after[number] for number in before), (before, after)
    assert not any(earlier_programs(cluster, number) for number in before)
    check_all(cluster, "first", "second")


def test_certificates_are_rotated_without_a_restart(cluster):
    def ends(number, directory):
        told = cluster.host(number).ssh(f"cairn cluster node --json --data /var/lib/cairn/{directory}").stdout
        return json.loads(told)["certificate_ends_ms"]

    places = [(1, "metadata"), (2, "metadata"), (2, "gateway"), (5, "chunkserver"), (6, "mount-mnt-photos")]
    before = {place: ends(*place) for place in places}
    started = cluster.host(2).ssh("systemctl show --property ExecMainPID cairn-gateway cairn-metadata").stdout
    cluster.playbook("rotate-certificates")
    assert all(ends(*place) > before[place] for place in places)
    assert cluster.host(2).ssh("systemctl show --property ExecMainPID cairn-gateway cairn-metadata").stdout == started
    check_all(cluster, "first")


def test_the_host_of_the_authority_is_destroyed_and_rebuilt(cluster):
    cluster.host(1).destroy()
    cluster.gateways.remove("host1")
    check_all(cluster, "first", "second")
    cluster.s3("s3_objects.py", "put", "third", str(OBJECTS))
    cluster.gateways.append("host1")
    cluster.add_host(1)
    refused = " ".join(cluster.playbook("add-node", "-e", "cairn_nodes=host1", succeeds=False).output.split())
    assert "run again with -e cairn_recover_authority=true" in refused
    cluster.playbook("add-node", "-e", "cairn_nodes=host1", "-e", "cairn_recover_authority=true")
    status = cluster.status()
    assert is_whole(status) and len(devices(status, "host1")) == 1 and len(status["servers"]) == 4, status
    group = json.loads(cluster.cairn(2, "metadata status --json"))
    assert [member["role"] for member in group["members"]] == ["voter"] * 3, group
    verify(cluster, 2)
    check_all(cluster, "first", "second", "third")
    again = cluster.playbook("site")
    assert not again.changed(), again.changed_tasks()


def test_a_dead_host_is_drained(cluster):
    cluster.host(5).destroy()
    cluster.playbook("drain-node", "-e", "cairn_node=host5")
    cluster.chunkservers.remove("host5")
    del cluster.hosts["host5"]
    status = cluster.status()
    assert is_whole(status) and len(status["servers"]) == 3, status
    check_all(cluster, "first", "second", "third")


def test_metadata_is_backed_up_and_restored_on_new_hosts(cluster):
    backup = cluster.folder / "backups" / "metadata.bak"
    cluster.playbook("backup-metadata", "-e", f"cairn_backup_file={backup}")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    refused = cluster.playbook("restore-metadata", "-e", f"cairn_backup_file={backup}", succeeds=False)
    assert "Restoring is for when all of them are lost" in " ".join(refused.output.split())

    # The host of the authority is gone with its disk; what the two others had of the metadata too.
    cluster.host(2).destroy()
    for number in (1, 3):
        cluster.host(number).ssh("systemctl stop cairn-metadata && rm -r /var/lib/cairn/metadata")
    cluster.add_host(2)
    cluster.disk = "/dev/vdb"
    cluster.playbook("restore-metadata", "-e", f"cairn_backup_file={backup}")
    cluster.gateways.remove("host2")
    check_all(cluster, "first", "second", "third")
    cluster.playbook("restore-metadata", "-e", f"cairn_backup_file={backup}", "-e", "cairn_release_deletion=true")
    cluster.s3("s3_objects.py", "put", "fourth", str(OBJECTS))
    check_all(cluster, "first", "second", "third", "fourth")


def test_teardown_asks_and_then_leaves_nothing(cluster):
    unasked = cluster.playbook("teardown", succeeds=False)
    assert "Nothing was removed" in unasked.output and "host1" not in unasked.counts
    cluster.playbook("teardown", "-e", "cairn_teardown=something-else", succeeds=False)
    check_all(cluster, "first")
    cluster.gateways.append("host2")
    cluster.playbook("teardown", "-e", "cairn_teardown=proving-ground")
    for number in (1, 2, 3, 6):
        host = cluster.host(number)
        left = host.ssh("find / -xdev -iname '*cairn*' -not -name Pitcairn -not -path '/proc/*' -not -path '/sys/*'").stdout
        assert not left.strip(), f"{host.name}: {left}"
        assert host.ssh("getent passwd cairn; getent group cairn", check=False).stdout == ""
        units = host.ssh("systemctl list-units --all --plain --no-legend --type=service,mount '*cairn*'").stdout
        assert not units.strip(), f"{host.name}: {units}"
        assert host.ssh("ss --no-header --listening --udp --numeric").stdout.strip() == ""
    assert (cluster.secrets / "recovery-key").exists(), "what is on the control machine is the operator's"
