//! Keys with rights in buckets: what each may do and may not, when what is given or taken away holds, and `cairn key`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use cairn_common::limits;
use cairn_tests::access_keys::{create, key, refusal};
use cairn_tests::clients::Clients;
use cairn_tests::machines::Machines;
use cairn_tests::process::run_any;
use cairn_tests::s3::{Client, Request};
use cairn_tests::server::{Options, Server};
use cairn_tests::sigv4::Credentials;
use cairn_tests::{content, process, wait};
use serde_json::Value;

/// What the docs promise of a key that is deleted.
const REVOKED_WITHIN: Duration = Duration::from_millis(limits::KEY_KNOWN_MS);
/// How long the test waits for it at most, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

const KEY: &str = "present";
/// The key that the tests use has one right in each of the first three, and none in the last.
const BUCKETS: [&str; 4] = ["readable", "writable", "owned", "foreign"];

/// An operation on a bucket.
type Operation = (&'static str, fn(&str, &str) -> Request);

fn upload(method: &str, bucket: &str, key: &str) -> Request {
    // One that was never begun: whoever may ask is told that.
    Request::object(method, bucket, key).query("uploadId", "00000000000003e7")
}

/// What each right allows, on a bucket and a key in it.
const READS: &[Operation] = &[
    ("GetObject", |bucket, key| Request::object("GET", bucket, key)),
    ("HeadObject", |bucket, key| Request::object("HEAD", bucket, key)),
    ("GetObjectAttributes", |bucket, key| {
        Request::object("GET", bucket, key)
            .query("attributes", "")
            .header("x-amz-object-attributes", "ETag")
    }),
    ("GetObjectAcl", |bucket, key| {
        Request::object("GET", bucket, key).query("acl", "")
    }),
    ("GetObjectTagging", |bucket, key| {
        Request::object("GET", bucket, key).query("tagging", "")
    }),
    ("ListObjects", |bucket, _| Request::bucket("GET", bucket)),
    ("ListObjectsV2", |bucket, _| {
        Request::bucket("GET", bucket).query("list-type", 2)
    }),
    ("ListObjectVersions", |bucket, _| {
        Request::bucket("GET", bucket).query("versions", "")
    }),
    ("GetBucketPolicy", |bucket, _| {
        Request::bucket("GET", bucket).query("policy", "")
    }),
    ("GetBucketAcl", |bucket, _| {
        Request::bucket("GET", bucket).query("acl", "")
    }),
];
const WRITES: &[Operation] = &[
    ("PutObject", |bucket, key| {
        Request::object("PUT", bucket, key).body("new")
    }),
    ("DeleteObject", |bucket, _| Request::object("DELETE", bucket, "absent")),
    ("DeleteObjects", |bucket, _| {
        let body = "<Delete><Object><Key>absent</Key></Object></Delete>";
        Request::bucket("POST", bucket).query("delete", "").body(body)
    }),
    ("CreateMultipartUpload", |bucket, key| {
        Request::object("POST", bucket, key).query("uploads", "")
    }),
    ("UploadPart", |bucket, key| {
        upload("PUT", bucket, key).query("partNumber", 1).body("part")
    }),
    ("CompleteMultipartUpload", |bucket, key| {
        let part = "<Part><PartNumber>1</PartNumber><ETag>\"0\"</ETag></Part>";
        upload("POST", bucket, key).body(format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>"))
    }),
    ("AbortMultipartUpload", |bucket, key| upload("DELETE", bucket, key)),
    ("ListParts", |bucket, key| upload("GET", bucket, key)),
    ("ListMultipartUploads", |bucket, _| {
        Request::bucket("GET", bucket).query("uploads", "")
    }),
];
const OWNS: &[Operation] = &[("DeleteBucket", |bucket, _| Request::bucket("DELETE", bucket))];
const ANY: &[Operation] = &[
    ("HeadBucket", |bucket, _| Request::bucket("HEAD", bucket)),
    ("GetBucketLocation", |bucket, _| {
        Request::bucket("GET", bucket).query("location", "")
    }),
    ("GetBucketVersioning", |bucket, _| {
        Request::bucket("GET", bucket).query("versioning", "")
    }),
];
const NONE: &[Operation] = &[
    ("CreateBucket", |bucket, _| Request::bucket("PUT", bucket)),
    ("PutBucketPolicy", |bucket, _| {
        Request::bucket("PUT", bucket).query("policy", "").body("{}")
    }),
];

fn copy(from: &str, to: &str, key: &str) -> Request {
    Request::object("PUT", to, "copied").header("x-amz-copy-source", format!("/{from}/{key}"))
}

/// A store with all buckets, an object in each.
fn store(name: &str) -> Result<Server> {
    let server = Server::start_with(name, Options::new(1, "1"))?;
    let mut root = server.client()?;
    for bucket in BUCKETS {
        root.make_bucket(bucket)?;
        root.put(bucket, KEY, content::bytes(1, 20_000))?;
    }
    Ok(server)
}

fn client(server: &Server, credentials: Credentials) -> Result<Client> {
    Ok(Client::new(server.address()?, credentials))
}

fn limited(server: &Server) -> Result<Credentials> {
    let rights = ["readable=read", "writable=write", "owned=owner"];
    let arguments = rights.map(|rights| ["--allow", rights]).concat();
    create(&server.data(), "limited", &arguments)
}

/// Sends a request: whether it was let through. What is refused says the same of what exists and what does not.
fn allowed(client: &mut Client, request: &Request) -> Result<bool> {
    let answer = client.send(request)?;
    if answer.status != 403 {
        return Ok(true);
    }
    ensure!(
        matches!(answer.verdict().as_str(), "403 AccessDenied" | "403"),
        "{}: {}",
        answer.verdict(),
        answer.text()
    );
    Ok(false)
}

#[test]
fn a_key_may_do_what_it_was_given_and_nothing_else() -> Result<()> {
    let server = store("keys-rights")?;
    let mut client = client(&server, limited(&server)?)?;
    let groups: [(&[Operation], &[&str]); 5] = [
        (READS, &["readable"]),
        (WRITES, &["writable"]),
        (OWNS, &["owned"]),
        (ANY, &["readable", "writable", "owned"]),
        (NONE, &[]),
    ];
    for (operations, where_allowed) in groups {
        for (name, request) in operations {
            // The last two: another's bucket, and none.
            for bucket in BUCKETS.into_iter().chain(["nowhere"]) {
                for key in [KEY, "absent"] {
                    let is_allowed = allowed(&mut client, &request(bucket, key))?;
                    ensure!(
                        is_allowed == where_allowed.contains(&bucket),
                        "{name} of {bucket}/{key}: {is_allowed}"
                    );
                }
            }
        }
    }
    for from in BUCKETS {
        for to in BUCKETS {
            let is_allowed = allowed(&mut client, &copy(from, to, KEY))?;
            ensure!(
                is_allowed == ((from, to) == ("readable", "writable")),
                "copy from {from} to {to}"
            );
            let part = copy(from, to, KEY)
                .query("partNumber", 1)
                .query("uploadId", "00000000000003e7");
            let is_allowed = allowed(&mut client, &part)?;
            ensure!(
                is_allowed == ((from, to) == ("readable", "writable")),
                "part from {from} to {to}"
            );
        }
    }
    let listed = client.send(&Request::path("GET", b"/".to_vec()))?.success()?;
    ensure!(
        listed.elements("Name") == ["owned", "readable", "writable"],
        "{}",
        listed.text()
    );

    let mut root = server.client()?;
    for bucket in ["readable", "owned", "foreign"] {
        ensure!(root.keys(bucket)? == [KEY], "{bucket} has changed");
        ensure!(
            root.get(bucket, KEY)? == content::bytes(1, 20_000),
            "{bucket} has changed"
        );
    }
    Ok(())
}

#[test]
fn a_refusal_does_not_tell_whether_the_object_exists() -> Result<()> {
    let server = store("keys-silent")?;
    let mut client = client(&server, limited(&server)?)?;
    let mut told = |bucket: &str, key: &str| {
        let answer = client.send(&Request::object("GET", bucket, key))?;
        anyhow::Ok((answer.status, answer.element("Code"), answer.element("Message")))
    };
    let present = told("foreign", KEY)?;
    ensure!(present.0 == 403, "{present:?}");
    ensure!(
        present == told("foreign", "absent")? && present == told("nowhere", KEY)?,
        "{present:?}"
    );
    Ok(())
}

#[test]
fn the_aws_client_works_with_a_key_of_one_bucket() -> Result<()> {
    let server = store("keys-aws")?;
    let credentials = create(&server.data(), "app", &["--allow", "readable=read,write"])?;
    let clients = Clients::ready()?;
    let aws = |arguments: &[&str]| {
        let mut command = clients.aws(&server)?;
        command
            .env("AWS_ACCESS_KEY_ID", &credentials.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &credentials.secret_key)
            .args(arguments);
        anyhow::Ok(command)
    };
    let file = server.folder().join("file");
    fs::write(&file, content::bytes(7, 9 << 20))?;
    let file = file.to_str().expect("a path of ours");
    process::run(&mut aws(&["s3", "cp", file, "s3://readable/parts"])?)?;
    process::run(&mut aws(&["s3", "cp", "s3://readable/parts", &format!("{file}.back")])?)?;
    ensure!(
        fs::read(file)? == fs::read(format!("{file}.back"))?,
        "what was uploaded is downloaded"
    );
    let listed = process::run(&mut aws(&["s3", "ls"])?)?.stdout;
    ensure!(listed.contains("readable") && !listed.contains("foreign"), "{listed}");
    for arguments in [
        ["s3", "cp", file, "s3://foreign/parts"].as_slice(),
        &["s3", "ls", "s3://foreign/"],
        &["s3", "mb", "s3://new-bucket"],
        &["s3", "rb", "s3://readable", "--force"],
    ] {
        let (success, printed) = run_any(&mut aws(arguments)?)?;
        ensure!(
            !success && printed.stderr.contains("AccessDenied"),
            "{arguments:?}: {printed:?}"
        );
    }
    Ok(())
}

/// Waits until a request is refused with `verdict`; none that began later than the docs promise may succeed.
fn await_refusal(client: &mut Client, request: &Request, verdict: &str) -> Result<()> {
    let taken = Instant::now();
    wait::until("the request is refused", PATIENCE, || {
        let began = taken.elapsed();
        let answer = client.send(request)?;
        if answer.verdict() == verdict {
            return Ok(Some(()));
        }
        ensure!(
            answer.status == 200 && began <= REVOKED_WITHIN,
            "{} to a request {began:?} after it was taken away",
            answer.verdict()
        );
        Ok(None)
    })
}

#[test]
fn what_is_given_holds_at_once_and_what_is_taken_ends_within_the_bound() -> Result<()> {
    let server = store("keys-times")?;
    let data = server.data();
    let credentials = create(&data, "app", &[])?;
    let mut client = client(&server, credentials)?;
    let get = Request::object("GET", "readable", KEY);
    ensure!(
        client.send(&get)?.verdict() == "403 AccessDenied",
        "it has no right yet"
    );
    key(&data, &["allow", "app", "readable=read", "foreign=read"])?;
    client.send(&get)?.success()?;
    key(&data, &["deny", "app", "readable"])?;
    await_refusal(&mut client, &get, "403 AccessDenied")?;
    client.get("foreign", KEY)?;
    key(&data, &["allow", "app", "readable=read"])?;
    client.send(&get)?.success()?;
    key(&data, &["delete", "app"])?;
    await_refusal(&mut client, &get, "403 InvalidAccessKeyId")?;
    Ok(())
}

#[test]
fn a_key_that_makes_buckets_owns_them() -> Result<()> {
    let server = store("keys-make")?;
    let data = server.data();
    let mut maker = client(&server, create(&data, "maker", &["--create-buckets"])?)?;
    maker.make_bucket("mine")?;
    maker.put("mine", "key", "value")?;
    ensure!(maker.get("mine", "key")? == b"value", "its own bucket");
    let make = |bucket| Request::bucket("PUT", bucket);
    ensure!(
        maker.send(&make("mine"))?.verdict() == "409 BucketAlreadyOwnedByYou",
        "it owns it"
    );
    ensure!(
        maker.send(&make("foreign"))?.verdict() == "409 BucketAlreadyExists",
        "another's"
    );
    let mut admin = client(&server, create(&data, "chief", &["--admin"])?)?;
    ensure!(admin.get("mine", "key")? == b"value", "it may do everything");
    let mut other = client(&server, create(&data, "other", &["--create-buckets"])?)?;
    ensure!(
        !allowed(&mut other, &Request::object("GET", "mine", "key"))?,
        "not its own"
    );
    maker.delete("mine", "key")?;
    maker.send(&Request::bucket("DELETE", "mine"))?.success()?;
    let shown: Value = serde_json::from_str(&key(&data, &["show", "maker", "--json"])?)?;
    ensure!(
        shown["rights"] == serde_json::json!({}),
        "rights go with their bucket: {shown}"
    );
    Ok(())
}

#[test]
fn the_commands_say_what_is_wrong_and_keep_secrets() -> Result<()> {
    let mut server = store("keys-commands")?;
    let data = server.data();
    let credentials = create(&data, "app", &["--allow", "readable=read"])?;
    for (arguments, expected) in [
        (["create", "app"].as_slice(), "exists already"),
        (&["create", "new", "--allow", "nowhere=read"], "no bucket \"nowhere\""),
        (&["create", "new", "--allow", "readable=delete"], "read, write or owner"),
        (&["create", "a b"], "1 to 64 of letters"),
        (&["show", "nobody"], "no key \"nobody\""),
        (&["allow", "nobody", "readable=read"], "no key \"nobody\""),
        (&["allow", "app", "nowhere=read"], "no bucket \"nowhere\""),
        (&["deny", "app", "nowhere"], "no bucket \"nowhere\""),
        (&["delete", "nobody"], "no key \"nobody\""),
    ] {
        let said = refusal(&data, arguments)?;
        ensure!(said.contains(expected), "{arguments:?}: {said}");
    }
    key(&data, &["allow", "app", "readable=write", "owned=all"])?;
    key(&data, &["deny", &credentials.access_key, "readable=read"])?;
    let shown = key(&data, &["show", "app", "--json"])?;
    let state: Value = serde_json::from_str(&shown)?;
    let expected = serde_json::json!({ "readable": ["write"], "owned": ["read", "write", "owner"] });
    ensure!(state["rights"] == expected, "{shown}");
    let listed = key(&data, &["list"])?;
    ensure!(
        listed.contains("app") && listed.contains(&credentials.access_key),
        "{listed}"
    );
    ensure!(!listed.contains("new"), "what was refused leaves nothing: {listed}");

    server.stop()?;
    ensure!(
        refusal(&data, &["list"])?.contains("start it first"),
        "a store that is stopped"
    );
    server.start_again()?;
    let mut client = client(&server, credentials.clone())?;
    client.put("readable", "key", "value")?;
    let secret = &credentials.secret_key;
    let told = [
        shown,
        listed,
        server.log(),
        server.printed(),
        server.admin("/metrics")?.text(),
    ];
    ensure!(told.iter().all(|text| !text.contains(secret)), "the secret is told");
    Ok(())
}

#[test]
fn a_key_of_a_cluster_works_at_each_gateway() -> Result<()> {
    let mut machines = Machines::start("keys-cluster", 3, 1, 1, "1")?;
    let printed = machines.add_gateway(&["--tls-self-signed"])?;
    let certificate = cairn_tests::daemon::field(&printed, "certificate")?;
    let certificate = fs::read_to_string(certificate.split(" (").next().unwrap_or_default())?;
    let data: Vec<_> = machines
        .metadata
        .members()
        .iter()
        .map(|member| member.data().to_owned())
        .collect();
    // Whichever member is asked, the leader answers.
    for data in &data {
        key(data, &["list"])?;
    }
    let credentials = create(&data[1], "app", &["--create-buckets"])?;
    let mut first = Client::new(machines.gateway(0), credentials.clone());
    let mut second = Client::new(machines.gateway(1), credentials).trusting(&certificate);
    ensure!(
        !allowed(&mut second, &Request::bucket("GET", "mine"))?,
        "it is not there yet"
    );
    first.make_bucket("mine")?;
    second.put("mine", "key", "value")?;
    ensure!(
        first.get("mine", "key")? == b"value",
        "written through the other gateway"
    );
    let other = create(&data[2], "other", &["--allow", "mine=read"])?;
    key(&data[0], &["delete", "app"])?;
    let get = Request::object("GET", "mine", "key");
    await_refusal(&mut first, &get, "403 InvalidAccessKeyId")?;
    await_refusal(&mut second, &get, "403 InvalidAccessKeyId")?;

    // Nobody can be asked any more: that is no word against the key.
    for member in 0..3 {
        machines.metadata.member(member).kill();
    }
    let answer = Client::new(machines.gateway(0), other).send(&get)?;
    ensure!(answer.verdict() == "503 ServiceUnavailable", "{}", answer.verdict());
    Ok(())
}

#[test]
fn a_client_node_may_not_make_keys() -> Result<()> {
    let machines = Machines::start("keys-client", 1, 1, 1, "1")?;
    let gateway = machines.metadata.folder().join("gateway0");
    key(&gateway, &["list"])?;
    let said = refusal(&gateway, &["create", "app"])?;
    if !said.contains("roles") {
        bail!("{said}");
    }
    ensure!(Path::new(&gateway).exists(), "the node is left as it was");
    Ok(())
}
