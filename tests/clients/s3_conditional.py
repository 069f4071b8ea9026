"""Conditional reads and writes; writes also when many race for one key."""

import datetime
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import ClientError
from checks import MIB, body_of, content, equal, keys_of, new_bucket, quoted_md5, refused, s3

OTHER_TAG = '"00000000000000000000000000000000"'
HOUR = datetime.timedelta(hours=1)


def stored():
    bucket = new_bucket()
    tag = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    return bucket, tag, modified


def check_conditional_get_by_etag():
    bucket, tag, _ = stored()
    for read in [s3.get_object, s3.head_object]:
        read(Bucket=bucket, Key="k", IfMatch=tag)
        read(Bucket=bucket, Key="k", IfMatch="*")
        read(Bucket=bucket, Key="k", IfNoneMatch=OTHER_TAG)
        with refused("PreconditionFailed", "412", status=412):
            read(Bucket=bucket, Key="k", IfMatch=OTHER_TAG)
        with refused("304", "NotModified", status=304):
            read(Bucket=bucket, Key="k", IfNoneMatch=tag)
        with refused("304", "NotModified", status=304):
            read(Bucket=bucket, Key="k", IfNoneMatch="*")


def check_conditional_get_by_time():
    bucket, _, modified = stored()
    for read in [s3.get_object, s3.head_object]:
        read(Bucket=bucket, Key="k", IfModifiedSince=modified - HOUR)
        read(Bucket=bucket, Key="k", IfUnmodifiedSince=modified)
        with refused("304", "NotModified", status=304):
            read(Bucket=bucket, Key="k", IfModifiedSince=modified)
        with refused("PreconditionFailed", "412", status=412):
            read(Bucket=bucket, Key="k", IfUnmodifiedSince=modified - HOUR)


def check_conditional_get_by_both():
    """RFC 9110, section 13.2.2: an ETag condition that is given decides, the time beside it is not looked at."""
    bucket, tag, modified = stored()
    got = s3.get_object(Bucket=bucket, Key="k", IfMatch=tag, IfUnmodifiedSince=modified - HOUR)
    equal(got["Body"].read(), b"one", "If-Match holds, If-Unmodified-Since does not")
    with refused("304", "NotModified", status=304):
        s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=tag, IfModifiedSince=modified - HOUR)
    s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=OTHER_TAG, IfModifiedSince=modified)


def check_conditional_put_if_absent():
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="k", Body=b"one", IfNoneMatch="*")
    with refused("PreconditionFailed", status=412):
        s3.put_object(Bucket=bucket, Key="k", Body=b"two", IfNoneMatch="*")
    equal(body_of(bucket, "k"), b"one", "body")
    # Neighbours of the key are other keys.
    s3.put_object(Bucket=bucket, Key="k/", Body=b"", IfNoneMatch="*")
    s3.put_object(Bucket=bucket, Key="k/x", Body=b"", IfNoneMatch="*")
    s3.delete_object(Bucket=bucket, Key="k")
    s3.put_object(Bucket=bucket, Key="k", Body=b"three", IfNoneMatch="*")
    equal(body_of(bucket, "k"), b"three", "body")


def check_conditional_put_if_unchanged():
    bucket, tag, _ = stored()
    with refused("PreconditionFailed", status=412):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", IfMatch=OTHER_TAG)
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"two", IfMatch=tag)["ETag"]
    with refused("PreconditionFailed", status=412):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", IfMatch=tag)
    equal(body_of(bucket, "k"), b"two", "body")
    s3.delete_object(Bucket=bucket, Key="k")
    with refused("NoSuchKey", status=404):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", IfMatch=second)
    equal(keys_of(bucket), [], "keys")


def check_conditional_put_of_large_objects():
    bucket = new_bucket()
    data = content(1, 9 * MIB)
    s3.put_object(Bucket=bucket, Key="k", Body=data, IfNoneMatch="*")
    with refused("PreconditionFailed", status=412):
        s3.put_object(Bucket=bucket, Key="k", Body=content(2, 9 * MIB), IfNoneMatch="*")
    equal(s3.head_object(Bucket=bucket, Key="k")["ETag"], quoted_md5(data), "ETag")


def outcome(write):
    """Whether it was accepted; the two codes by which it may have lost are no error."""
    try:
        write()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("PreconditionFailed", "ConditionalRequestConflict"):
            return False
        raise
    return True


def check_conditional_put_races_have_one_winner():
    bucket = new_bucket()
    with ThreadPoolExecutor(16) as pool:
        for round_number, length in enumerate([10, 100_000, 10, 100_000]):
            key = f"race{round_number}"
            bodies = [content(round_number * 100 + racer, length) for racer in range(16)]

            def write(racer, key=key, bodies=bodies):
                return outcome(lambda: s3.put_object(Bucket=bucket, Key=key, Body=bodies[racer], IfNoneMatch="*"))

            won = [racer for racer, accepted in enumerate(pool.map(write, range(16))) if accepted]
            equal(len(won), 1, f"winners of {key}")
            equal(body_of(bucket, key), bodies[won[0]], f"body of {key}")


def check_conditional_put_counts_without_losing():
    """A counter that eight clients increase by compare-and-swap ends at the number of accepted writes."""
    bucket = new_bucket()
    s3.put_object(Bucket=bucket, Key="counter", Body=b"0")

    def increase(_):
        accepted = 0
        for _ in range(15):
            got = s3.get_object(Bucket=bucket, Key="counter")
            raised = str(int(got["Body"].read()) + 1).encode()
            if outcome(lambda raised=raised, got=got: s3.put_object(
                Bucket=bucket, Key="counter", Body=raised, IfMatch=got["ETag"]
            )):
                accepted += 1
        return accepted

    with ThreadPoolExecutor(8) as pool:
        total = sum(pool.map(increase, range(8)))
    equal(int(body_of(bucket, "counter")), total, "counter")
    assert total >= 15, f"only {total} of the writes were accepted"


def check_conditional_complete_of_multipart():
    bucket = new_bucket()
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    where = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    tag = s3.upload_part(**where, PartNumber=1, Body=b"parts")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    s3.put_object(Bucket=bucket, Key="k", Body=b"whole")
    with refused("PreconditionFailed", status=412):
        s3.complete_multipart_upload(**where, MultipartUpload=parts, IfNoneMatch="*")
    equal(body_of(bucket, "k"), b"whole", "body")
    s3.delete_object(Bucket=bucket, Key="k")
    s3.complete_multipart_upload(**where, MultipartUpload=parts, IfNoneMatch="*")
    equal(body_of(bucket, "k"), b"parts", "body")
