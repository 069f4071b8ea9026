"""Buckets, objects, their metadata, listings and deletions."""

import datetime

from botocore.exceptions import ClientError
from checks import body_of, client, content, equal, keys_of, md5, new_bucket, quoted_md5, refused, s3

# Around every border that a store may have: inline, block, small chunk, chunk.
LENGTHS = [0, 1, 4095, 4096, 4097, 65535, 65536, 65537, 131071, 131072, 131073, 1 << 20, (8 << 20) - 1, 8 << 20]
LENGTHS += [(8 << 20) + 1, (17 << 20) + 3]


def check_bucket_life():
    name = "bucket-life.with-dots"
    with refused("404", status=404):
        s3.head_bucket(Bucket=name)
    s3.create_bucket(Bucket=name)
    s3.head_bucket(Bucket=name)
    listed = {bucket["Name"]: bucket["CreationDate"] for bucket in s3.list_buckets()["Buckets"]}
    age = datetime.datetime.now(datetime.timezone.utc) - listed[name]
    assert abs(age) < datetime.timedelta(minutes=5), f"created {age} ago"
    s3.delete_bucket(Bucket=name)
    with refused("404", status=404):
        s3.head_bucket(Bucket=name)
    with refused("NoSuchBucket", status=404):
        s3.delete_bucket(Bucket=name)


def check_bucket_list_is_sorted():
    names = [f"sorted-{letter}" for letter in "cab"]
    for name in names:
        s3.create_bucket(Bucket=name)
    listed = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    equal(listed, sorted(listed), "buckets")
    assert set(names) <= set(listed)


def check_bucket_created_twice():
    """The owner may ask again: us-east-1 says yes, every other region says that it is there already."""
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="kept", Body=b"x")
    try:
        s3.create_bucket(Bucket=bucket)
    except ClientError as error:
        equal(error.response["Error"]["Code"], "BucketAlreadyOwnedByYou", "code")
    equal(keys_of(bucket), ["kept"], "keys")


def check_bucket_location():
    location = s3.get_bucket_location(Bucket=new_bucket()).get("LocationConstraint")
    assert location in (None, "", "us-east-1"), location
    with refused("NoSuchBucket", status=404):
        s3.get_bucket_location(Bucket="no-such-bucket")


def check_bucket_not_empty():
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="a/b", Body=b"x")
    with refused("BucketNotEmpty", status=409):
        s3.delete_bucket(Bucket=bucket)
    equal(body_of(bucket, "a/b"), b"x", "body")
    s3.delete_object(Bucket=bucket, Key="a/b")
    s3.delete_bucket(Bucket=bucket)


def check_object_of_every_length():
    bucket = new_bucket()
    for length in LENGTHS:
        data = content(length, length)
        put = s3.put_object(Bucket=bucket, Key=f"k{length}", Body=data)
        equal(put["ETag"], quoted_md5(data), f"ETag of {length}")
    for length in LENGTHS:
        got = s3.get_object(Bucket=bucket, Key=f"k{length}")
        data = got["Body"].read()
        equal(md5(data), md5(content(length, length)), f"body of {length}")
        equal((got["ContentLength"], got["ETag"]), (length, quoted_md5(data)), f"head of {length}")
        head = s3.head_object(Bucket=bucket, Key=f"k{length}")
        equal((head["ContentLength"], head["ETag"]), (length, quoted_md5(data)), f"HEAD of {length}")


def check_object_defaults():
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    got = s3.get_object(Bucket=bucket, Key="k")
    equal(got["ContentType"], "binary/octet-stream", "content type")
    equal(got["AcceptRanges"], "bytes", "accept-ranges")
    equal(got["Metadata"], {}, "metadata")
    age = datetime.datetime.now(datetime.timezone.utc) - got["LastModified"]
    assert abs(age) < datetime.timedelta(minutes=5), f"modified {age} ago"
    request_id = got["ResponseMetadata"]["HTTPHeaders"].get("x-amz-request-id")
    assert request_id, "every answer names its request"


def check_object_overwritten():
    bucket = new_bucket()
    for length in [5_000_000, 10, 0, 200_000]:
        data = content(length, length)
        s3.put_object(Bucket=bucket, Key="k", Body=data)
        equal(body_of(bucket, "k"), data, f"body of {length}")
    equal(keys_of(bucket), ["k"], "keys")


def check_object_missing():
    bucket = new_bucket()
    with refused("NoSuchKey", status=404):
        s3.get_object(Bucket=bucket, Key="missing")
    with refused("404", status=404):
        s3.head_object(Bucket=bucket, Key="missing")
    with refused("NoSuchBucket", status=404):
        s3.get_object(Bucket="no-such-bucket", Key="missing")


def check_object_streams():
    """A body of unknown type and a read in small pieces, as applications do."""
    bucket = new_bucket()
    data = content(1, 3_000_000)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    pieces = list(s3.get_object(Bucket=bucket, Key="k")["Body"].iter_chunks(10_007))
    equal(b"".join(pieces), data, "body")


def check_metadata_of_users():
    bucket = new_bucket()
    metadata = {"one": "1", "with-dash": "a b  c", "empty": "", "long": "x" * 1500}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata=metadata)
    equal(s3.head_object(Bucket=bucket, Key="k")["Metadata"], metadata, "HEAD")
    equal(s3.get_object(Bucket=bucket, Key="k")["Metadata"], metadata, "GET")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    equal(s3.head_object(Bucket=bucket, Key="k")["Metadata"], {}, "after an overwrite")


def check_metadata_of_content():
    bucket = new_bucket()
    headers = {
        "ContentType": "text/html; charset=utf-8",
        "CacheControl": "max-age=60, public",
        "ContentDisposition": 'attachment; filename="a b.html"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "de, en",
    }
    expires = datetime.datetime(2031, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Expires=expires, **headers)
    for got in [s3.head_object(Bucket=bucket, Key="k"), s3.get_object(Bucket=bucket, Key="k")]:
        equal({name: got[name] for name in headers}, headers, "content headers")
        equal(got["ResponseMetadata"]["HTTPHeaders"]["expires"], "Mon, 03 Feb 2031 04:05:06 GMT", "expires")


def check_metadata_overridden_by_the_request():
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentType="text/plain")
    got = s3.get_object(
        Bucket=bucket,
        Key="k",
        ResponseContentType="image/png",
        ResponseCacheControl="no-store",
        ResponseContentDisposition="inline",
        ResponseContentEncoding="identity",
        ResponseContentLanguage="fr",
    )
    equal(got["ContentType"], "image/png", "content type")
    equal(got["CacheControl"], "no-store", "cache control")
    equal(got["ContentDisposition"], "inline", "content disposition")
    equal(got["ContentLanguage"], "fr", "content language")


AWKWARD_KEYS = [
    "a", "a/", "a/b", "a//b", "/a", "a b", "a+b", "a%b", "a%2Fb", "a\nb", "a\tb", "ä/ö", "日本語", "𝄞", "a&b<c>\"'",
    "a?b=c&d", "a#b", "a:b@c", "[a]{b}", "~!*()", "k" * 1024, "d/" * 511 + "zz", "é" * 512, "x.", "...",
]  # fmt: skip


def check_keys_come_back_exactly():
    """Without `.` and `..` as components: the HTTP library below boto3 resolves those before it sends them."""
    bucket = new_bucket()
    for key in AWKWARD_KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode(), Metadata={"length": str(len(key))})
    equal(keys_of(bucket), sorted(AWKWARD_KEYS, key=str.encode), "listing")
    for key in AWKWARD_KEYS:
        equal(body_of(bucket, key), key.encode(), f"body of {key!r}")
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in AWKWARD_KEYS]})
    equal(sorted(entry["Key"] for entry in deleted["Deleted"]), sorted(AWKWARD_KEYS), "deleted")
    equal(keys_of(bucket), [], "after the deletion")


def check_keys_too_long():
    bucket = new_bucket()
    with refused("KeyTooLongError", status=400):
        s3.put_object(Bucket=bucket, Key="k" * 1025, Body=b"x")
    with refused("KeyTooLongError", status=400):
        s3.create_multipart_upload(Bucket=bucket, Key="é" * 513)
    equal(keys_of(bucket), [], "keys")


def check_list_of_an_empty_bucket():
    bucket = new_bucket()
    page = s3.list_objects_v2(Bucket=bucket)
    equal((page["KeyCount"], page["IsTruncated"], page.get("Contents")), (0, False, None), "V2")
    page = s3.list_objects(Bucket=bucket, Delimiter="/", Prefix="x/")
    equal((page["IsTruncated"], page.get("Contents"), page.get("CommonPrefixes")), (False, None, None), "V1")
    with refused("NoSuchBucket", status=404):
        s3.list_objects_v2(Bucket="no-such-bucket")


def check_list_shows_what_was_written():
    bucket = new_bucket()
    data = content(1, 150_000)
    s3.put_object(Bucket=bucket, Key="d/k", Body=data)
    entry = s3.list_objects_v2(Bucket=bucket)["Contents"][0]
    equal((entry["Key"], entry["Size"], entry["ETag"]), ("d/k", len(data), quoted_md5(data)), "entry")
    page = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    equal(page["CommonPrefixes"], [{"Prefix": "d/"}], "common prefixes")
    s3.put_object(Bucket=bucket, Key="d/", Body=b"")
    equal([entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]], ["d/", "d/k"], "with d/")
    inner = s3.list_objects_v2(Bucket=bucket, Prefix="d/", Delimiter="/")
    equal([entry["Key"] for entry in inner["Contents"]], ["d/", "d/k"], "inside of d/")


def check_list_refuses_bad_tokens():
    bucket = new_bucket()
    with refused("InvalidArgument", status=400):
        s3.list_objects_v2(Bucket=bucket, ContinuationToken="no token of ours")


def check_delete_one():
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="a/b", Body=b"x")
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    equal(s3.delete_object(Bucket=bucket, Key="a/b")["ResponseMetadata"]["HTTPStatusCode"], 204, "status")
    equal(keys_of(bucket), ["a"], "keys")
    equal(s3.delete_object(Bucket=bucket, Key="a/b")["ResponseMetadata"]["HTTPStatusCode"], 204, "again")
    with refused("NoSuchKey", status=404):
        s3.get_object(Bucket=bucket, Key="a/b")
    with refused("NoSuchBucket", status=404):
        s3.delete_object(Bucket="no-such-bucket", Key="a")


def check_delete_many():
    bucket = new_bucket()
    keys = [f"d{index % 7}/k{index}" for index in range(1000)]
    for key in keys[:300]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.put_object(Bucket=bucket, Key="kept", Body=b"x")
    # Keys that are not there count as deleted.
    result = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    equal([entry["Key"] for entry in result["Deleted"]], keys, "deleted")
    assert "Errors" not in result, result.get("Errors")
    equal(keys_of(bucket), ["kept"], "keys")


def check_delete_many_quietly():
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    result = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}, {"Key": "b"}], "Quiet": True})
    assert "Deleted" not in result and "Errors" not in result, result
    equal(keys_of(bucket), [], "keys")


def check_delete_many_has_a_limit():
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="k0", Body=b"x")
    with refused("MalformedXML", status=400):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": f"k{index}"} for index in range(1001)]})
    equal(keys_of(bucket), ["k0"], "keys")


def check_object_by_virtual_host():
    """The bucket in the host name; boto3 is told to connect to the endpoint all the same."""
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="d/k", Body=b"by path")
    hosted = client()
    host = "localhost:" + hosted.meta.endpoint_url.rsplit(":", 1)[1]

    def move_bucket(request, **_):
        """Before signing: the path loses the bucket, the host gains it."""
        path = request.url.split(f"/{bucket}", 1)[1]
        request.url = hosted.meta.endpoint_url + (path or "/")
        request.headers["Host"] = f"{bucket}.{host}"

    hosted.meta.events.register_last("before-sign.s3", move_bucket)
    equal(hosted.get_object(Bucket=bucket, Key="d/k")["Body"].read(), b"by path", "GET")
    hosted.put_object(Bucket=bucket, Key="new", Body=b"by host")
    equal(body_of(bucket, "new"), b"by host", "PUT")
    equal([entry["Key"] for entry in hosted.list_objects_v2(Bucket=bucket)["Contents"]], ["d/k", "new"], "listing")
