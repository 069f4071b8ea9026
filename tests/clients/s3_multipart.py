"""Multipart uploads and copies."""

import hashlib

from checks import MIB, body_of, content, equal, keys_of, md5, new_bucket, quoted_md5, refused, s3

PARTS = [content(1, 5 * MIB), content(2, 5 * MIB + 7), content(3, 1000)]


def multipart_tag(parts):
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    return f'"{md5(digests)}-{len(parts)}"'


def begun(key="k", **options):
    bucket = new_bucket()
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, **options)["UploadId"]
    return {"Bucket": bucket, "Key": key, "UploadId": upload}


def send(where, number, data):
    tag = s3.upload_part(**where, PartNumber=number, Body=data)["ETag"]
    equal(tag, quoted_md5(data), f"ETag of part {number}")
    return {"PartNumber": number, "ETag": tag}


def complete(where, parts):
    return s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})


def uploads_of(bucket, **options):
    listed = s3.list_multipart_uploads(Bucket=bucket, **options)
    return [(entry["Key"], entry["UploadId"]) for entry in listed.get("Uploads", [])]


def check_multipart_in_any_order():
    where = begun(Metadata={"a": "b"}, ContentType="text/x-parts")
    bucket = where["Bucket"]
    sent = {number: send(where, number, PARTS[number - 1]) for number in [3, 1, 2]}
    equal(keys_of(bucket), [], "keys before the end")
    with refused("NoSuchKey", status=404):
        s3.get_object(Bucket=bucket, Key="k")
    done = complete(where, [sent[1], sent[2], sent[3]])
    equal(done["ETag"], multipart_tag(PARTS), "ETag")
    equal((done["Bucket"], done["Key"]), (bucket, "k"), "Bucket and Key")
    got = s3.get_object(Bucket=bucket, Key="k")
    equal(md5(got["Body"].read()), md5(b"".join(PARTS)), "body")
    equal((got["ETag"], got["ContentType"], got["Metadata"]), (done["ETag"], "text/x-parts", {"a": "b"}), "head")
    equal(keys_of(bucket), ["k"], "keys")
    equal(uploads_of(bucket), [], "uploads")


def check_multipart_leaves_the_old_object_until_the_end():
    where = begun()
    s3.put_object(Bucket=where["Bucket"], Key="k", Body=b"old")
    part = send(where, 1, b"new")
    equal(body_of(where["Bucket"], "k"), b"old", "before")
    complete(where, [part])
    equal(body_of(where["Bucket"], "k"), b"new", "after")


def check_multipart_part_sent_again():
    where = begun()
    send(where, 1, PARTS[0])
    last = send(where, 2, b"tail")
    again = send(where, 1, PARTS[1])
    with refused("InvalidPart", status=400):
        complete(where, [{"PartNumber": 1, "ETag": quoted_md5(PARTS[0])}, last])
    complete(where, [again, last])
    equal(body_of(where["Bucket"], "k"), PARTS[1] + b"tail", "body")


def check_multipart_of_some_parts():
    """Parts that completion does not name are left out; numbers may have gaps."""
    where = begun()
    sent = [send(where, number, PARTS[index]) for index, number in enumerate([2, 50, 10_000])]
    complete(where, [sent[0], sent[2]])
    equal(body_of(where["Bucket"], "k"), PARTS[0] + PARTS[2], "body")


def check_multipart_many_small_steps():
    where = begun()
    part = content(9, 5 * MIB)
    sent = [send(where, number, part) for number in range(1, 13)]
    done = complete(where, sent)
    equal(done["ETag"], multipart_tag([part] * 12), "ETag")
    equal(s3.head_object(Bucket=where["Bucket"], Key="k")["ContentLength"], 60 * MIB, "length")


def check_multipart_list_of_parts():
    where = begun()
    sent = [send(where, number, PARTS[2] + bytes([number])) for number in [1, 2, 5, 9]]
    listed = s3.list_parts(**where)
    got = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in listed["Parts"]]
    equal(got, sent, "parts")
    equal({part["Size"] for part in listed["Parts"]}, {1001}, "sizes")
    equal((listed["IsTruncated"], listed["Key"], listed["UploadId"]), (False, "k", where["UploadId"]), "head")
    numbers, marker = [], 0
    while True:
        page = s3.list_parts(**where, MaxParts=3, PartNumberMarker=marker)
        numbers.append([part["PartNumber"] for part in page["Parts"]])
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
    equal(numbers, [[1, 2, 5], [9]], "pages")
    equal(s3.list_parts(**begun()).get("Parts"), None, "parts of a new upload")


def check_multipart_list_of_uploads():
    bucket = new_bucket()
    keys = ["a", "d/x", "d/y", "d/y", "e"]
    begun_uploads = [(key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]) for key in keys]
    equal(len(set(upload for _, upload in begun_uploads)), 5, "ids")
    listed = uploads_of(bucket)
    equal([key for key, _ in listed], keys, "keys")
    equal(set(listed), set(begun_uploads), "uploads")
    equal([key for key, _ in uploads_of(bucket, Prefix="d/")], ["d/x", "d/y", "d/y"], "by prefix")
    page = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    equal([entry["Key"] for entry in page["Uploads"]], ["a", "e"], "by delimiter")
    equal(page["CommonPrefixes"], [{"Prefix": "d/"}], "common prefixes")
    found, markers = [], {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=2, **markers)
        found += [(entry["Key"], entry["UploadId"]) for entry in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    equal(found, listed, "pages")


def check_multipart_abort():
    where = begun()
    part = send(where, 1, b"x")
    s3.abort_multipart_upload(**where)
    for use in [
        lambda: s3.upload_part(**where, PartNumber=2, Body=b"x"),
        lambda: complete(where, [part]),
        lambda: s3.list_parts(**where),
        lambda: s3.abort_multipart_upload(**where),
    ]:
        with refused("NoSuchUpload", status=404):
            use()
    equal((keys_of(where["Bucket"]), uploads_of(where["Bucket"])), ([], []), "what is left")


def check_multipart_uploads_of_one_key_are_apart():
    first = begun()
    second = {**first, "UploadId": s3.create_multipart_upload(Bucket=first["Bucket"], Key="k")["UploadId"]}
    parts = send(first, 1, b"first"), send(second, 1, b"second")
    complete(second, [parts[1]])
    equal(body_of(first["Bucket"], "k"), b"second", "body")
    complete(first, [parts[0]])
    equal(body_of(first["Bucket"], "k"), b"first", "body")


def check_multipart_part_copy():
    where = begun()
    bucket = where["Bucket"]
    source = content(5, 20 * MIB + 11)
    s3.put_object(Bucket=bucket, Key="source ü+%", Body=source)
    ranges = [(0, 5 * MIB), (7 * MIB, 13 * MIB + 5), (20 * MIB, 20 * MIB + 11)]
    parts = []
    for number, (start, end) in enumerate(ranges, 1):
        copied = s3.upload_part_copy(
            **where,
            PartNumber=number,
            CopySource={"Bucket": bucket, "Key": "source ü+%"},
            CopySourceRange=f"bytes={start}-{end - 1}",
        )["CopyPartResult"]
        equal(copied["ETag"], quoted_md5(source[start:end]), f"ETag of part {number}")
        parts.append({"PartNumber": number, "ETag": copied["ETag"]})
    complete(where, parts)
    equal(md5(body_of(bucket, "k")), md5(b"".join(source[start:end] for start, end in ranges)), "body")


def check_multipart_part_copy_of_a_whole_object():
    where = begun()
    other = new_bucket()
    s3.put_object(Bucket=other, Key="source", Body=PARTS[0])
    copied = s3.upload_part_copy(**where, PartNumber=1, CopySource={"Bucket": other, "Key": "source"})
    complete(where, [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}])
    s3.delete_object(Bucket=other, Key="source")
    equal(md5(body_of(where["Bucket"], "k")), md5(PARTS[0]), "body")
    where = begun()
    with refused("NoSuchKey", status=404):
        s3.upload_part_copy(**where, PartNumber=1, CopySource={"Bucket": other, "Key": "missing"})
    s3.put_object(Bucket=other, Key="short", Body=b"0123456789")
    with refused("InvalidArgument", "InvalidRange"):
        source = {"Bucket": other, "Key": "short"}
        s3.upload_part_copy(**where, PartNumber=1, CopySource=source, CopySourceRange="bytes=5-20")


def check_copy_within_and_across_buckets():
    bucket, other = new_bucket(), new_bucket()
    for length in [0, 3000, 100_000, 3 * MIB, 17 * MIB]:
        data = content(length, length)
        s3.put_object(Bucket=bucket, Key="source", Body=data, Metadata={"a": "b"}, ContentType="text/x")
        for target in [bucket, other]:
            copied = s3.copy_object(Bucket=target, Key="copy", CopySource={"Bucket": bucket, "Key": "source"})
            equal(copied["CopyObjectResult"]["ETag"], quoted_md5(data), f"ETag of {length}")
            got = s3.get_object(Bucket=target, Key="copy")
            equal(md5(got["Body"].read()), md5(data), f"body of {length}")
            equal((got["ContentType"], got["Metadata"]), ("text/x", {"a": "b"}), "metadata")


def check_copy_outlives_its_source():
    bucket = new_bucket()
    data = content(1, 10 * MIB)
    s3.put_object(Bucket=bucket, Key="source", Body=data)
    s3.copy_object(Bucket=bucket, Key="one", CopySource={"Bucket": bucket, "Key": "source"})
    s3.copy_object(Bucket=bucket, Key="two", CopySource={"Bucket": bucket, "Key": "one"})
    s3.put_object(Bucket=bucket, Key="source", Body=b"other")
    s3.delete_object(Bucket=bucket, Key="one")
    equal(md5(body_of(bucket, "two")), md5(data), "body")


def check_copy_with_new_metadata():
    bucket = new_bucket()
    source = {"Bucket": bucket, "Key": "k"}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"a": "b"}, ContentType="text/x")
    with refused("InvalidRequest", status=400):
        s3.copy_object(Bucket=bucket, Key="k", CopySource=source)
    replaced = {"MetadataDirective": "REPLACE", "Metadata": {"c": "d"}, "ContentType": "text/y"}
    s3.copy_object(Bucket=bucket, Key="k", CopySource=source, **replaced)
    got = s3.get_object(Bucket=bucket, Key="k")
    equal((got["ContentType"], got["Metadata"], got["Body"].read()), ("text/y", {"c": "d"}, b"x"), "object")


def check_copy_of_a_multipart_object():
    where = begun()
    complete(where, [send(where, number, part) for number, part in enumerate(PARTS, 1)])
    bucket = where["Bucket"]
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
    s3.delete_object(Bucket=bucket, Key="k")
    equal(md5(body_of(bucket, "copy")), md5(b"".join(PARTS)), "body")


def check_copy_of_awkward_keys():
    bucket = new_bucket()
    for key in ["a b", "a+b", "a%2Fb", "ü/ö", "a//b", "/a", "a/", "日本?x=y&z", "q#f"]:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        s3.copy_object(Bucket=bucket, Key=f"copies/{key}", CopySource={"Bucket": bucket, "Key": key})
        equal(body_of(bucket, f"copies/{key}"), key.encode(), key)


def check_copy_on_conditions():
    bucket = new_bucket()
    tag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    target = {"Bucket": bucket, "Key": "copy", "CopySource": {"Bucket": bucket, "Key": "k"}}
    other = '"00000000000000000000000000000000"'
    with refused("PreconditionFailed", status=412):
        s3.copy_object(**target, CopySourceIfMatch=other)
    with refused("PreconditionFailed", status=412):
        s3.copy_object(**target, CopySourceIfNoneMatch=tag)
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    with refused("PreconditionFailed", status=412):
        s3.copy_object(**target, CopySourceIfModifiedSince=modified)
    equal(keys_of(bucket), ["k"], "keys")
    s3.copy_object(**target, CopySourceIfMatch=tag)
    equal(body_of(bucket, "copy"), b"x", "body")


def check_copy_of_what_is_not_there():
    bucket = new_bucket()
    with refused("NoSuchKey", status=404):
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "missing"})
    with refused("NoSuchBucket", status=404):
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": "no-such-bucket", "Key": "k"})
    equal(keys_of(bucket), [], "keys")
