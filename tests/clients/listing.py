"""Lists a bucket in every way and compares each page with what the keys say.

Called with the bucket and a JSON file of its keys. The reference below is written from Amazon's description of
ListObjects and ListObjectsV2: keys in UTF-8 byte order; keys that share a prefix up to the delimiter are rolled up into
one common prefix, which counts as one entry; a page ends after max-keys entries.
"""

import itertools
import json
import sys

from checks import equal, s3, shortened

BUCKET, KEYS_FILE = sys.argv[1], sys.argv[2]
with open(KEYS_FILE, encoding="utf-8") as file:
    KEYS = sorted(json.load(file), key=lambda key: key.encode())

PREFIXES = ["", "logs/", "logs/05", "flat-", "a", "a/", "x y/", "日本/", "a+b/", "é%/", "//", "nothing"]
DELIMITERS = [None, "/", "0", "a/"]


def after(key, start):
    return key.encode() > start.encode()


def entries(prefix, delimiter, start=""):
    """The whole listing: (sort key, key or None, common prefix or None) of each entry."""
    found = []
    for key in KEYS:
        if not key.startswith(prefix) or (start and not after(key, start)):
            continue
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        if end < 0:
            found.append(("key", key))
        else:
            common = key[: end + len(delimiter)]
            if not found or found[-1] != ("prefix", common):
                found.append(("prefix", common))
    return found


def of_page(page):
    found = [("key", entry["Key"]) for entry in page.get("Contents", [])]
    found += [("prefix", entry["Prefix"]) for entry in page.get("CommonPrefixes", [])]
    return sorted(found, key=lambda entry: entry[1].encode())


def options_of(prefix, delimiter, max_keys):
    options = {"Bucket": BUCKET, "Prefix": prefix}
    if delimiter is not None:
        options["Delimiter"] = delimiter
    if max_keys is not None:
        options["MaxKeys"] = max_keys
    return options


def pages_v2(options):
    while True:
        page = s3.list_objects_v2(**options)
        yield page
        if not page["IsTruncated"]:
            assert "NextContinuationToken" not in page, "the last page has no token"
            return
        options = {**options, "ContinuationToken": page["NextContinuationToken"]}
        options.pop("StartAfter", None)


def pages_v1(options):
    while True:
        page = s3.list_objects(**options)
        yield page
        if not page["IsTruncated"]:
            return
        marker = page.get("NextMarker")
        if marker is None:
            assert "Delimiter" not in options, "a truncated page of V1 with a delimiter has a NextMarker"
            marker = page["Contents"][-1]["Key"]
        options = {**options, "Marker": marker}


def compare(pages, expected, max_keys, what):
    limit = min(max_keys or 1000, 1000)
    position = 0
    for page in pages:
        got = of_page(page)
        wanted = expected[position : position + limit]
        equal(got, wanted, f"{what}, entries from {position}")
        position += len(got)
        equal(page["IsTruncated"], position < len(expected), f"{what}: IsTruncated after {position}")
        equal(page["MaxKeys"], limit, f"{what}: MaxKeys")
        if "KeyCount" in page:
            equal(page["KeyCount"], len(got), f"{what}: KeyCount")
    equal(position, len(expected), f"{what}: number of entries")


def check_pages_of_both_versions():
    for prefix, delimiter in itertools.product(PREFIXES, DELIMITERS):
        expected = entries(prefix, delimiter)
        small = 7 if len(expected) < 150 else 333
        compare(pages_v2(options_of(prefix, delimiter, None)), expected, None, f"V2 {prefix!r} by {delimiter!r}")
        if delimiter in (None, "/"):
            options = options_of(prefix, delimiter, small)
            compare(pages_v2(options), expected, small, f"V2 {options}")
            compare(pages_v1(options), expected, small, f"V1 {options}")


def check_start_after_and_marker():
    starts = [KEYS[0], KEYS[5000], KEYS[-2], KEYS[-1], "flat-", "m", "~~~~", "日本"]
    for prefix, start in itertools.product(["", "logs/0"], starts):
        expected = entries(prefix, None, start)
        options = options_of(prefix, None, None)
        compare(pages_v2({**options, "StartAfter": start}), expected, None, f"V2 after {start!r} {options}")
        compare(pages_v1({**options, "Marker": start}), expected, None, f"V1 after {start!r} {options}")
    # With a delimiter: what comes after the start is rolled up.
    for start in ["flat-", "m", "logs", "logs~"]:
        expected = entries("", "/", start)
        options = options_of("", "/", 50)
        compare(pages_v2({**options, "StartAfter": start}), expected, 50, f"V2 after {start!r} {options}")
        compare(pages_v1({**options, "Marker": start}), expected, 50, f"V1 after {start!r} {options}")


def check_a_common_prefix_as_marker_is_passed():
    """V1 continues after a whole common prefix, because that is what NextMarker names."""
    expected = [entry for entry in entries("", "/") if after(entry[1], "logs/")]
    compare(pages_v1({**options_of("", "/", None), "Marker": "logs/"}), expected, None, "V1 marker logs/")


def check_limits_of_a_page():
    empty = s3.list_objects_v2(Bucket=BUCKET, MaxKeys=0)
    equal((of_page(empty), empty["IsTruncated"], empty["KeyCount"]), ([], False, 0), "max-keys 0")
    large = s3.list_objects_v2(Bucket=BUCKET, MaxKeys=5000)
    equal((large["KeyCount"], large["MaxKeys"], large["IsTruncated"]), (1000, 1000, True), "max-keys 5000")
    one = s3.list_objects_v2(Bucket=BUCKET, MaxKeys=1)
    equal(of_page(one), entries("", None)[:1], "max-keys 1")


def check_what_a_page_says():
    page = s3.list_objects_v2(Bucket=BUCKET, Prefix="logs/", Delimiter="/", StartAfter="logs/000", MaxKeys=3)
    equal(page["Name"], BUCKET, "Name")
    equal(page["Prefix"], "logs/", "Prefix")
    equal(page["Delimiter"], "/", "Delimiter")
    equal(page["StartAfter"], "logs/000", "StartAfter")
    entry = s3.list_objects_v2(Bucket=BUCKET, MaxKeys=1)["Contents"][0]
    head = s3.head_object(Bucket=BUCKET, Key=entry["Key"])
    equal((entry["ETag"], entry["Size"]), (head["ETag"], head["ContentLength"]), "ETag and Size")
    equal(entry["LastModified"].replace(microsecond=0), head["LastModified"], "LastModified")
    equal(entry["StorageClass"], "STANDARD", "StorageClass")
    assert "Owner" not in entry, "V2 names no owner unless asked"
    owned = s3.list_objects_v2(Bucket=BUCKET, MaxKeys=1, FetchOwner=True)["Contents"][0]
    assert owned["Owner"]["ID"], f"V2 names the owner when asked: {shortened(owned)}"


if __name__ == "__main__":
    checks = [check for name, check in list(globals().items()) if name.startswith("check_")]
    for check in checks:
        check()
    print(f"{len(checks)} checks passed")
