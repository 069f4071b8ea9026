"""The runner of the checks, and what they share: a boto3 client, buckets of their own, expected errors.

A check is a function named `check_…` without parameters. `main` runs those whose names start with a given group, shows
the traceback of each that fails, and ends with their number; the exit status tells whether all passed.
"""

import contextlib
import hashlib
import itertools
import os
import random
import sys
import traceback

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["AWS_ENDPOINT_URL_S3"]
MIB = 1 << 20

_bucket_numbers = itertools.count()


def client(**options):
    """A client that retries nothing: a retry would hide an error."""
    config = Config(
        signature_version="s3v4",
        retries={"total_max_attempts": 1},
        max_pool_connections=32,
        s3={"addressing_style": "path"},
        **options,
    )
    return boto3.client("s3", config=config)


s3 = client()


def new_bucket():
    """An empty bucket that no other check uses."""
    name = f"check-{next(_bucket_numbers)}"
    s3.create_bucket(Bucket=name)
    return name


def content(seed, length):
    return random.Random(seed).randbytes(length)


def md5(data):
    return hashlib.md5(data).hexdigest()


def quoted_md5(data):
    return f'"{md5(data)}"'


def body_of(bucket, key, **options):
    return s3.get_object(Bucket=bucket, Key=key, **options)["Body"].read()


def keys_of(bucket):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def equal(got, expected, what=""):
    if got != expected:
        raise AssertionError(f"{what}: got {shortened(got)}, expected {shortened(expected)}")


def shortened(value):
    text = repr(value)
    return text if len(text) < 500 else f"{text[:240]} … {text[-240:]} ({len(text)} characters)"


@contextlib.contextmanager
def refused(*codes, status=None):
    """The block must end with one of these error codes (HEAD has no body, so there the status is the code)."""
    try:
        yield
    except ClientError as error:
        got = error.response["Error"]["Code"]
        if got not in codes:
            raise AssertionError(f"refused with {got}, expected {codes}: {error}") from error
        if status is not None:
            equal(error.response["ResponseMetadata"]["HTTPStatusCode"], status, "status")
        return
    raise AssertionError(f"was accepted, expected {codes}")


def main(names):
    checks = {name.removeprefix("check_"): check for name, check in names.items() if name.startswith("check_")}
    if sys.argv[1:2] == ["--list"]:
        print("\n".join(checks))
        return
    chosen = {name: check for name, check in checks.items() if any(name.startswith(group) for group in sys.argv[1:])}
    failed = [name for name, check in chosen.items() if not passes(name, check)]
    if failed or not chosen:
        print(f"{len(failed)} of {len(chosen)} checks failed: {' '.join(failed)}")
        sys.exit(1)
    print(f"{len(chosen)} checks passed")


def passes(name, check):
    try:
        check()
    except Exception:
        print(f"--- {name}")
        traceback.print_exc(file=sys.stdout)
        return False
    return True
