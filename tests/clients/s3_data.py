"""What goes over the wire with the data: ranges, checksums, presigned URLs."""

import base64
import datetime
import hashlib
import os
import unittest.mock
import urllib.error
import urllib.request
import zlib

import awscrt.checksums
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from checks import ENDPOINT, MIB, body_of, content, equal, keys_of, new_bucket, refused, s3


def base64_of(number, width):
    return base64.b64encode(number.to_bytes(width, "big")).decode()


# Algorithm → (name of the parameter, checksum of some bytes).
CHECKSUMS = {
    "CRC32": ("ChecksumCRC32", lambda data: base64_of(zlib.crc32(data), 4)),
    "CRC32C": ("ChecksumCRC32C", lambda data: base64_of(awscrt.checksums.crc32c(data), 4)),
    "CRC64NVME": ("ChecksumCRC64NVME", lambda data: base64_of(awscrt.checksums.crc64nvme(data), 8)),
    "SHA1": ("ChecksumSHA1", lambda data: base64.b64encode(hashlib.sha1(data).digest()).decode()),
    "SHA256": ("ChecksumSHA256", lambda data: base64.b64encode(hashlib.sha256(data).digest()).decode()),
}


def check_range_of_every_kind():
    bucket = new_bucket()
    for length in [100, 4096, 300_000, 20 * MIB + 5]:
        data = content(length, length)
        s3.put_object(Bucket=bucket, Key="k", Body=data)
        middle = length // 2
        cases = [
            ("bytes=0-0", 0, 1),
            ("bytes=0-9", 0, 10),
            (f"bytes={middle}-{middle + 30}", middle, middle + 31),
            (f"bytes={length - 1}-", length - 1, length),
            ("bytes=5-", 5, length),
            ("bytes=-7", length - 7, length),
            (f"bytes=-{length * 2}", 0, length),
            (f"bytes=10-{length * 2}", 10, length),
            (f"bytes=0-{length - 1}", 0, length),
        ]
        for border in [65_536, 8 * MIB, 16 * MIB]:
            if border < length:
                cases.append((f"bytes={border - 3}-{border + 3}", border - 3, border + 4))
                cases.append((f"bytes={border}-{border}", border, border + 1))
        for header, start, end in cases:
            got = s3.get_object(Bucket=bucket, Key="k", Range=header)
            what = f"{header} of {length}"
            equal(got["ResponseMetadata"]["HTTPStatusCode"], 206, f"status of {what}")
            equal(got["ContentRange"], f"bytes {start}-{min(end, length) - 1}/{length}", what)
            equal(got["Body"].read(), data[start:end], f"body of {what}")
            head = s3.head_object(Bucket=bucket, Key="k", Range=header)
            equal(head["ContentLength"], min(end, length) - start, f"HEAD of {what}")


def check_range_outside_of_the_object():
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    for header in ["bytes=10-", "bytes=10-20", "bytes=-0"]:
        with refused("InvalidRange", status=416):
            s3.get_object(Bucket=bucket, Key="k", Range=header)
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    with refused("InvalidRange", status=416):
        s3.get_object(Bucket=bucket, Key="empty", Range="bytes=0-0")


def check_range_across_parts():
    bucket = new_bucket()
    parts = [content(1, 5 * MIB + 1), content(2, 6 * MIB), content(3, 100)]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    tags = []
    for number, part in enumerate(parts, 1):
        tag = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=part)["ETag"]
        tags.append({"PartNumber": number, "ETag": tag})
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": tags})
    data = b"".join(parts)
    for start, end in [(0, 10), (5 * MIB - 5, 5 * MIB + 5), (5 * MIB + 1, 5 * MIB + 2), (11 * MIB - 9, len(data))]:
        got = body_of(bucket, "k", Range=f"bytes={start}-{end - 1}")
        equal(got, data[start:end], f"bytes {start}-{end}")


def check_checksum_given_stored_and_returned():
    bucket = new_bucket()
    for length in [0, 100, 200_000, 9 * MIB]:
        data = content(length, length)
        for algorithm, (name, compute) in CHECKSUMS.items():
            put = s3.put_object(Bucket=bucket, Key="k", Body=data, ChecksumAlgorithm=algorithm)
            equal(put.get(name), compute(data), f"{algorithm} of {length} in the answer")
            head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
            equal(head.get(name), compute(data), f"{algorithm} of {length} in HEAD")
            got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
            equal(got.get(name), compute(data), f"{algorithm} of {length} in GET")
            equal(got["Body"].read(), data, "body")


def check_checksum_by_default():
    """SDKs send a CRC32 (or CRC64NVME) without being asked, and ask for what is stored."""
    bucket = new_bucket()
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"hello")
    assert "ChecksumCRC32" in put or "ChecksumCRC64NVME" in put, put
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    equal(head.get("ChecksumCRC32"), put.get("ChecksumCRC32"), "CRC32")
    equal(head.get("ChecksumCRC64NVME"), put.get("ChecksumCRC64NVME"), "CRC64NVME")


def check_checksum_that_is_wrong():
    bucket = new_bucket()
    for algorithm, (name, compute) in CHECKSUMS.items():
        with refused("BadDigest", status=400):
            s3.put_object(Bucket=bucket, Key="k", Body=b"one thing", **{name: compute(b"another thing")})
        s3.put_object(Bucket=bucket, Key="fine", Body=b"one thing", **{name: compute(b"one thing")})
    equal(keys_of(bucket), ["fine"], "keys")


def check_checksum_md5_header():
    bucket = new_bucket()
    digest = base64.b64encode(hashlib.md5(b"one thing").digest()).decode()
    s3.put_object(Bucket=bucket, Key="k", Body=b"one thing", ContentMD5=digest)
    with refused("BadDigest", status=400):
        s3.put_object(Bucket=bucket, Key="k", Body=b"another thing", ContentMD5=digest)
    equal(body_of(bucket, "k"), b"one thing", "body")


def check_checksum_of_parts():
    bucket = new_bucket()
    parts = [content(1, 5 * MIB), content(2, 5 * MIB), content(3, 99)]
    for algorithm in ["CRC32", "CRC32C", "SHA256", "SHA1"]:
        name, compute = CHECKSUMS[algorithm]
        done = complete_with_checksums(bucket, parts, algorithm, name, compute)
        joined = b"".join(base64.b64decode(compute(part)) for part in parts)
        equal(done[name], f"{compute(joined)}-3", f"composite {algorithm}")
        head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        equal(head.get(name), done[name], f"composite {algorithm} in HEAD")
        equal(head.get("ChecksumType"), "COMPOSITE", "type")


def check_checksum_of_a_full_multipart_object():
    bucket = new_bucket()
    parts = [content(1, 5 * MIB), content(2, 6 * MIB), content(3, 99)]
    for algorithm in ["CRC64NVME", "CRC32", "CRC32C"]:
        name, compute = CHECKSUMS[algorithm]
        done = complete_with_checksums(bucket, parts, algorithm, name, compute, ChecksumType="FULL_OBJECT")
        equal(done[name], compute(b"".join(parts)), f"full-object {algorithm}")
        head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        equal((head.get(name), head.get("ChecksumType")), (done[name], "FULL_OBJECT"), f"{algorithm} in HEAD")


def complete_with_checksums(bucket, parts, algorithm, name, compute, **options):
    created = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, **options)
    upload = created["UploadId"]
    entries = []
    for number, part in enumerate(parts, 1):
        sent = s3.upload_part(
            Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=part, ChecksumAlgorithm=algorithm
        )
        equal(sent[name], compute(part), f"{algorithm} of part {number}")
        entries.append({"PartNumber": number, "ETag": sent["ETag"], name: sent[name]})
    listed = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)
    equal([part.get(name) for part in listed["Parts"]], [entry[name] for entry in entries], "checksums of ListParts")
    return s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": entries})


def check_checksum_of_a_wrong_part():
    bucket = new_bucket()
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256")["UploadId"]
    name, compute = CHECKSUMS["SHA256"]
    where = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    with refused("BadDigest", status=400):
        s3.upload_part(**where, PartNumber=1, Body=b"x", **{name: compute(b"y")})
    assert "Parts" not in s3.list_parts(**where), "the wrong part is not kept"


def check_checksum_in_attributes():
    """GetObjectAttributes, where it is implemented."""
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm="SHA256")
    try:
        got = s3.get_object_attributes(
            Bucket=bucket, Key="k", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass"]
        )
    except ClientError as error:
        equal(error.response["Error"]["Code"], "NotImplemented", "code")
        return
    equal(got["ObjectSize"], 5, "size")
    equal(got["ETag"], hashlib.md5(b"hello").hexdigest(), "ETag")
    equal(got["Checksum"]["ChecksumSHA256"], CHECKSUMS["SHA256"][1](b"hello"), "checksum")


def fetch(url, method="GET", data=None, headers=None):
    """(status, body) of a request that knows nothing of S3."""
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def check_presigned_get_and_put():
    bucket = new_bucket()
    key = "d/with space+plus%.txt"
    put = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": key}, ExpiresIn=60)
    equal(fetch(put, "PUT", b"by presigned URL")[0], 200, "PUT")
    get = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": key}, ExpiresIn=60)
    equal(fetch(get), (200, b"by presigned URL"), "GET")
    head = s3.generate_presigned_url("head_object", {"Bucket": bucket, "Key": key}, ExpiresIn=60)
    equal(fetch(head, "HEAD")[0], 200, "HEAD")
    delete = s3.generate_presigned_url("delete_object", {"Bucket": bucket, "Key": key}, ExpiresIn=60)
    equal(fetch(delete, "DELETE")[0], 204, "DELETE")
    equal(keys_of(bucket), [], "keys")


def check_presigned_with_overrides():
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    parameters = {"Bucket": bucket, "Key": "k", "ResponseContentType": "text/css"}
    url = s3.generate_presigned_url("get_object", parameters, ExpiresIn=60)
    with urllib.request.urlopen(url, timeout=60) as response:
        equal(response.headers["content-type"], "text/css", "content type")


def check_presigned_is_bound_to_what_was_signed():
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.put_object(Bucket=bucket, Key="other", Body=b"secret")
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"}, ExpiresIn=60)
    for changed in [url.replace("/k?", "/other?"), url.replace("X-Amz-Expires=60", "X-Amz-Expires=600")]:
        status, body = fetch(changed)
        assert status == 403 and b"SignatureDoesNotMatch" in body, (status, body)
    status, body = fetch(url, "PUT", b"overwritten")
    assert status == 403 and b"SignatureDoesNotMatch" in body, (status, body)
    equal(body_of(bucket, "k"), b"x", "body")


def check_presigned_expires():
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    status, body = fetch(presigned_in_the_past(bucket))
    assert status == 403 and b"AccessDenied" in body, (status, body)


def presigned_in_the_past(bucket):
    """Signed ten minutes ago for one minute: nothing has to wait for it to expire."""
    signed_at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=10)
    credentials = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    request = AWSRequest("GET", f"{ENDPOINT}/{bucket}/k")
    with unittest.mock.patch("botocore.auth.get_current_datetime", lambda *_, **__: signed_at):
        S3SigV4QueryAuth(credentials, "s3", os.environ["AWS_REGION"], expires=60).add_auth(request)
    return request.url
